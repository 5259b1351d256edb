"""Gradients of the first output of a model with respect to its inputs, for all Keras backends."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# `(inputs, weights) -> (outputs, gradients)`
Gradient = Callable[[list[Any], Any], tuple[list[Any], list[Any]]]


def compile_gradient(model: "keras.Model", watched: Sequence[int]) -> Gradient:
    """Compile the gradient of a model, because Keras has no backend-independent gradient.

    Args:
        model: the model.
        watched: indices of the inputs to differentiate with respect to.

    Returns:
        A function of the inputs and of weights `(n, outputs)` for the first output. It returns all outputs, and the
        gradients of the weighted sum of the first output at the watched inputs.
    """
    import keras

    backends: dict[str, Callable[[keras.Model, list[int]], Gradient]]
    backends = {"tensorflow": _compile_tensorflow, "jax": _compile_jax, "torch": _compile_torch}
    return backends[keras.backend.backend()](model, list(watched))


def _compile_tensorflow(model: "keras.Model", watched: list[int]) -> Gradient:
    import tensorflow as tf

    def differentiate(inputs: list[Any], weights: Any) -> tuple[list[Any], list[Any]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for number in watched:
                tape.watch(inputs[number])
            outputs = _as_list(model(_pack(inputs), training=False))
            total = tf.reduce_sum(outputs[0] * weights)
        return outputs, tape.gradient(total, [inputs[number] for number in watched])

    # Trace once for all batch sizes.
    specs = [tf.TensorSpec(tensor.shape) for tensor in model.inputs]
    traced = tf.function(differentiate, input_signature=[specs, tf.TensorSpec(model.outputs[0].shape)])
    return lambda inputs, weights: traced([tf.convert_to_tensor(values) for values in inputs], weights)


def _compile_jax(model: "keras.Model", watched: list[int]) -> Gradient:
    import jax

    groups = model.trainable_variables, model.non_trainable_variables

    def score(chosen: list[Any], inputs: list[Any], weights: Any, state: Any) -> Any:
        inputs = list(inputs)
        for number, value in zip(watched, chosen, strict=True):
            inputs[number] = value
        outputs = _as_list(model.stateless_call(*state, _pack(inputs), training=False)[0])
        return (outputs[0] * weights).sum(), outputs

    gradient = jax.jit(jax.value_and_grad(score, has_aux=True))

    def differentiate(inputs: list[Any], weights: Any) -> tuple[list[Any], list[Any]]:
        state = [[variable.value for variable in group] for group in groups]
        (_, outputs), gradients = gradient([inputs[number] for number in watched], inputs, weights, state)
        return outputs, gradients

    return differentiate


def _compile_torch(model: "keras.Model", watched: list[int]) -> Gradient:
    import torch
    from keras import ops

    def differentiate(inputs: list[Any], weights: Any) -> tuple[list[Any], list[Any]]:
        inputs = [ops.convert_to_tensor(values) for values in inputs]
        for number in watched:
            inputs[number] = inputs[number].detach().requires_grad_()
        outputs = _as_list(model(_pack(inputs), training=False))
        total = (outputs[0] * ops.convert_to_tensor(weights)).sum()
        return outputs, list(torch.autograd.grad(total, [inputs[number] for number in watched]))

    return differentiate


def _pack(inputs: list[Any]) -> Any:
    return inputs if len(inputs) > 1 else inputs[0]


def _as_list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
