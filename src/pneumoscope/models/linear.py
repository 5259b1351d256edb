"""Flattened float32 copies of classifiers with logits as outputs, for explanation methods.

Gradients of logits do not vanish for confident predictions and do not mix classes, unlike gradients after a sigmoid or
softmax.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pneumoscope.models.flatten import check_ends, copy_layer, copy_weights, find_last_layer, run_layers

if TYPE_CHECKING:
    import keras


def copy_linear(
    model: "keras.Model",
    *,
    opened: tuple[str, ...] = (),
    before_activation: bool = False,
    rectify: Callable[[Any], Any] | None = None,
) -> "keras.Model":
    """Return a flattened float32 copy of a classifier with logits as outputs.

    The copy shares no weights with the model. Layers of nested models are named by their path: `backbone.conv_1`.

    Args:
        model: built functional or sequential model with one input and one output.
        opened: layer names. Each layer gets one more input, which is added to its output, and one more output, the sum.
        before_activation: whether the input is added before the activation of a layer.
        rectify: function that replaces each ReLU.

    Raises:
        ModelError: if the number of inputs or outputs is not 1.
        ValueError: if a layer is shared.
    """
    import keras

    check_ends(model)
    last = find_last_layer(model)
    openings: dict[str, tuple[Any, Any]] = dict.fromkeys(opened, (None, None))

    def call(layer: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        if layer is last and isinstance(layer, keras.layers.Softmax):
            return args[0]
        split = before_activation and path in openings
        copy, activation = _copy_layer(layer, path, rectify, linear=layer is last, split=split)
        output = copy(*args, **kwargs)
        copy_weights(layer, copy)
        if path in openings:
            output = _add_change(output, path, openings)
        return output if activation is None else activation(output)

    image = keras.Input(model.inputs[0].shape[1:], name=model.inputs[0].name)
    (scores,) = keras.tree.flatten(run_layers(model, [image], call))
    if not opened:
        return keras.Model(image, scores, name=model.name)
    changes, outputs = zip(*openings.values(), strict=True)
    return keras.Model([image, *changes], [scores, *outputs], name=model.name)


def _add_change(output: Any, name: str, openings: dict[str, tuple[Any, Any]]) -> Any:
    """Return a layer's output plus a new input of its shape; stores both in `openings`."""
    import keras

    change = keras.Input(output.shape[1:], name=f"{name}.change")
    changed = keras.layers.Add(dtype="float32", name=f"{name}.changed")([output, change])
    openings[name] = change, changed
    return changed


def find_layer(flat: "keras.Model", name: str) -> str:
    """Return the name of a layer in a flattened copy; unknown names are returned unchanged.

    Args:
        flat: from `copy_linear`.
        name: path of the layer, joined by dots or slashes; or its plain name, if unique.

    Raises:
        ValueError: if several nested models have a layer of that name.
    """
    names = [layer.name for layer in flat.layers]
    path = name.replace("/", ".")
    if path in names:
        return path
    matches: list[str] = [other for other in names if other.endswith(f".{path}")]
    if len(matches) > 1:
        raise ValueError(f"layer name {name!r} is ambiguous; expected one of {', '.join(matches)}")
    return matches[0] if matches else name


def _copy_layer(
    layer: Any, name: str, rectify: Callable[[Any], Any] | None, *, linear: bool, split: bool
) -> tuple[Any, Any]:
    """Return a copy of a layer, and a separate activation layer if `split`."""
    import keras

    if rectify is not None and isinstance(layer, keras.layers.ReLU):
        return keras.layers.Activation(rectify, dtype="float32", name=name), None
    activation, changes = getattr(layer, "activation", None), {}
    if linear and activation is not None:
        changes["activation"] = activation = keras.activations.linear
    if rectify is not None and activation is keras.activations.relu:
        changes["activation"] = activation = rectify
    if not split or activation in (None, keras.activations.linear):
        return copy_layer(layer, name, **changes), None
    changes["activation"] = keras.activations.linear
    split_off = keras.layers.Activation(activation, dtype="float32", name=f"{name}.activation")
    return copy_layer(layer, name, **changes), split_off
