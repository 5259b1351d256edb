"""Flat float32 copies of Keras models, in which every layer is accessible by name."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.errors import ModelError

if TYPE_CHECKING:
    import keras

# `(layer, path, *args, **kwargs) -> output`; the path of a layer of nested models is joined by dots.
Call = Callable[..., Any]


def flatten_model(
    model: "keras.Model",
    *,
    image: Any = None,
    inputs: Any = None,
    with_weights: bool = True,
    name: str | None = None,
) -> "keras.Model":
    """Return a float32 copy with nested models replaced by their layers; it shares no weights with the model.

    A layer whose plain name is not unique gets its path as its name: `model.backbone.conv_1`.

    Args:
        model: functional or sequential model with one input and one output.
        image: input of the copy; by default, the model's own.
        inputs: what the model gets, computed from `image`; by default `image`.
        with_weights: whether to copy the weights; otherwise they are random, but statistics of the input are copied.
        name: name of the copy; by default, that of the model.

    Raises:
        ModelError: if the model is neither functional nor sequential, or the number of inputs or outputs is not 1.
    """
    import keras

    check_ends(model)
    if image is None:
        image = keras.Input(model.inputs[0].shape[1:], name=model.inputs[0].name)
    inputs = image if inputs is None else inputs
    used = Counter(operation.name for _, operation in list_operations(model))
    used.update(layer.name for layer in (keras.Model(image, inputs).layers))
    copies: dict[int, Any] = {}

    def call(layer: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        copy = copies.get(id(layer))
        if copy is None:
            unique = layer.name if used[layer.name] == 1 else f"{model.name}.{path}"
            copy = copies[id(layer)] = copy_layer(layer, unique)
        output = copy(*args, **kwargs)
        if with_weights or isinstance(layer, keras.layers.Normalization):
            copy_weights(layer, copy)
        return output

    (outputs,) = keras.tree.flatten(run_layers(model, [inputs], call))
    return keras.Model(image, outputs, name=name or model.name)


def check_ends(model: "keras.Model") -> None:
    """Make sure that a model is a graph of layers with one input and one output.

    Raises:
        ModelError: if it is not.
    """
    if not hasattr(_find_graph(model), "_run_through_graph"):
        raise ModelError(f"{model.name} is a {type(model).__name__}; expected a built functional or sequential model")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        counts = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise ModelError(f"{model.name} has {counts}, expected 1 of each")


def run_layers(model: "keras.Model", inputs: Any, call: Call, prefix: str = "") -> Any:
    """Return the outputs of a model, with each layer of it and of nested models run by `call`."""
    import keras

    def run(layer: Any, *args: Any, **kwargs: Any) -> Any:
        path = prefix + layer.name
        if isinstance(layer, keras.Model):
            return run_layers(layer, args[0], call, f"{path}.")
        return call(layer, path, *args, **kwargs)

    return _find_graph(model)._run_through_graph(inputs, call_fn=run)


def list_operations(model: "keras.Model", prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path and layer (or operation) of a model and its nested models, from the input; without input layers."""
    import keras

    for operation in _find_graph(model).operations:
        if isinstance(operation, keras.Model):
            yield from list_operations(operation, f"{prefix}{operation.name}.")
        elif not isinstance(operation, keras.layers.InputLayer):
            yield prefix + operation.name, operation


def find_last_layer(model: "keras.Model") -> Any:
    """Return the output layer, of the innermost nested model."""
    import keras

    last: Any = model
    while isinstance(last, keras.Model):
        last = _find_graph(last).outputs[0]._keras_history.operation
    return last


def find_embedding_layer(model: "keras.Model") -> str:
    """Return the name of the layer whose output is the embedding: the input of the last Dense layer, before dropout.

    In a model without a Dense layer, it is the output layer.

    Args:
        model: flat model.
    """
    import keras

    dropouts = (keras.layers.Dropout, keras.layers.GaussianNoise, keras.layers.GaussianDropout)
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    layer = dense[-1] if dense else None
    while layer is not None and (layer is dense[-1] or isinstance(layer, dropouts)):
        layer = layer.input._keras_history.operation
    return str((layer if isinstance(layer, keras.Layer) else find_last_layer(model)).name)


def copy_layer(layer: Any, name: str, **changes: Any) -> Any:
    """Return a new float32 layer (or operation) with the configuration of another; weights are not copied."""
    import keras

    config = {**layer.get_config(), "name": name}
    if isinstance(layer, keras.Layer):
        config |= {"dtype": "float32", **changes}
    return type(layer).from_config(config)


def copy_weights(layer: Any, copy: Any) -> None:
    """Copy the weights of a layer to a built layer of the same shapes."""
    from keras import ops

    if weights := getattr(layer, "weights", []):
        # Copy the arrays: JAX frees arrays that two models share.
        copy.set_weights([np.array(ops.convert_to_numpy(weight)) for weight in weights])
        if hasattr(copy, "finalize_state"):  # Normalization keeps what it derives from its weights
            copy.finalize_state()


def _find_graph(model: "keras.Model") -> Any:
    import keras

    return model._functional if isinstance(model, keras.Sequential) else model
