"""Gradients of a net's first output at its inputs, the one place that knows Keras' backends."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def compile_gradient(net: "keras.Model", watched: Sequence[int]) -> Callable[[list[Any], Any], tuple[list, list]]:
    """Return a function of a net's inputs and of weights `(n, outputs)` for its first output.

    The function gives all outputs of the net, and the gradients of the weighted sum of the first at the watched
    inputs. Keras has no gradient of its own.

    Args:
        net: a functional model with a list of inputs or one input.
        watched: which of its inputs.
    """
    import keras

    backends: dict[str, Callable] = {"tensorflow": _compile_tensorflow, "jax": _compile_jax, "torch": _compile_torch}
    return backends[keras.backend.backend()](net, list(watched))


def _compile_tensorflow(net: "keras.Model", watched: list[int]) -> Callable:
    import tensorflow as tf

    def differentiate(inputs: list[Any], weights: Any) -> tuple[list, list]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for number in watched:
                tape.watch(inputs[number])
            outputs = _call(net, inputs)
            total = tf.reduce_sum(outputs[0] * weights)
        return outputs, tape.gradient(total, [inputs[number] for number in watched])

    # Traced here, once, for batches of any length.
    taken = [tf.TensorSpec(tensor.shape) for tensor in net.inputs]
    traced = tf.function(differentiate, input_signature=[taken, tf.TensorSpec(net.outputs[0].shape)])
    return lambda inputs, weights: traced([tf.convert_to_tensor(given) for given in inputs], weights)


def _compile_jax(net: "keras.Model", watched: list[int]) -> Callable:
    import jax

    groups = net.trainable_variables, net.non_trainable_variables

    def score(chosen: list[Any], inputs: list[Any], weights: Any, state: Any) -> Any:
        inputs = list(inputs)
        for number, value in zip(watched, chosen, strict=True):
            inputs[number] = value
        outputs, _ = net.stateless_call(*state, inputs if len(inputs) > 1 else inputs[0], training=False)
        outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        return (outputs[0] * weights).sum(), outputs

    gradient = jax.jit(jax.value_and_grad(score, has_aux=True))

    def differentiate(inputs: list[Any], weights: Any) -> tuple[list, list]:
        state = [[variable.value for variable in group] for group in groups]
        (_, outputs), gradients = gradient([inputs[number] for number in watched], inputs, weights, state)
        return outputs, gradients

    return differentiate


def _compile_torch(net: "keras.Model", watched: list[int]) -> Callable:
    import torch
    from keras import ops

    def differentiate(inputs: list[Any], weights: Any) -> tuple[list, list]:
        inputs = [ops.convert_to_tensor(given) for given in inputs]
        for number in watched:
            inputs[number] = inputs[number].detach().requires_grad_()
        outputs = _call(net, inputs)
        total = (outputs[0] * ops.convert_to_tensor(weights)).sum()
        return outputs, list(torch.autograd.grad(total, [inputs[number] for number in watched]))

    return differentiate


def _call(net: "keras.Model", inputs: list[Any]) -> list[Any]:
    outputs = net(inputs if len(inputs) > 1 else inputs[0], training=False)
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
