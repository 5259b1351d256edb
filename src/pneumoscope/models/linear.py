"""A classifier as explanations need it: one flat net in full precision, with scores instead of probabilities.

Before the last sigmoid or softmax the gradient of a sure decision does not vanish, and that of one class does not mix
with all others. A net that holds other nets is laid out flat, so that any layer of any of them can be looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras


def copy_linear(
    model: "keras.Model",
    *,
    opened: tuple[str, ...] = (),
    before_activation: bool = False,
    rectify: Callable[[Any], Any] | None = None,
) -> "keras.Model":
    """Return a flat float32 copy of a classifier that gives scores before the last sigmoid or softmax.

    The copy shares nothing with the model. A layer of a net within the net is named by its way down, joined by
    dots: `backbone.conv_1`.

    Args:
        model: a built Keras functional or sequential model of one input and one output.
        opened: names of layers of the copy. For each, the copy takes one more input, which is added to the layer's
            output, and gives one more output, the sum: the gradient at an input of zeros is that at the layer,
            wherever it lies.
        before_activation: whether layers are opened ahead of an activation that is part of them.
        rectify: what to put in the place of each ReLU.

    Raises:
        ValueError: if the model uses one layer in several places, or has another number of inputs or outputs.
    """
    import keras

    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"{model.name} has {len(model.inputs)} inputs and {len(model.outputs)} outputs, expected 1 of each"
        )
    image = keras.Input(model.inputs[0].shape[1:], name=model.inputs[0].name)
    copying = _Copying(opened, before_activation, rectify)
    (scores,) = copying.follow(model, [image], prefix="", ends=True)
    changes, cells = ([pair[place] for pair in copying.openings.values()] for place in (0, 1))
    if not opened:
        return keras.Model(image, scores, name=model.name)
    return keras.Model([image, *changes], [scores, *cells], name=model.name)


def find_layer(flat: "keras.Model", name: str) -> str:
    """Return the name that a flat copy knows a layer by.

    Args:
        flat: as `copy_linear` returns it.
        name: the way to the layer, joined by dots or slashes, or its own name, where no other net has one alike.

    Raises:
        ValueError: if several nets have a layer of that name. A name that is not there is returned as it came.
    """
    names = [layer.name for layer in flat.layers]
    path = name.replace("/", ".")
    if path in names:
        return path
    found = [known for known in names if known.endswith(f".{path}")]
    if len(found) > 1:
        raise ValueError(f"layer {name!r} is in several nets; name one of {', '.join(found)}")
    return found[0] if found else name


@dataclass
class _Copying:
    """One walk through a net and the nets within it.

    Attributes:
        opened, before_activation, rectify: see `copy_linear`.
        openings: by layer, the input and the output that opening it gave, in the order of `opened`.
    """

    opened: tuple[str, ...]
    before_activation: bool
    rectify: Callable[[Any], Any] | None
    openings: dict[str, tuple[Any, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.openings = dict.fromkeys(self.opened, (None, None))

    def follow(self, net: "keras.Model", given: list[Any], *, prefix: str, ends: bool) -> list[Any]:
        """Return the copies of a net's outputs, from those of its inputs."""
        import keras

        if isinstance(net, keras.Sequential):
            net = net._functional
        made = {id(tensor): copy for tensor, copy in zip(net.inputs, given, strict=True)}

        def swap(value: Any) -> Any:
            return made.get(id(value), value)

        for layer in net.operations:
            if isinstance(layer, keras.layers.InputLayer):
                continue
            node = _find_node(net, layer)
            args, kwargs = keras.tree.map_structure(swap, (node.arguments.args, node.arguments.kwargs))
            last = ends and any(tensor is net.outputs[0] for tensor in node.outputs)
            if isinstance(layer, keras.Model):
                sources = [made[id(tensor)] for tensor in node.input_tensors]
                outputs = self.follow(layer, sources, prefix=f"{prefix}{layer.name}.", ends=last)
            else:
                outputs = keras.tree.flatten(self._copy(layer, prefix + layer.name, last)(*args, **kwargs))
            made.update({id(tensor): copy for tensor, copy in zip(node.outputs, outputs, strict=True)})
        return [made[id(tensor)] for tensor in net.outputs]

    def _copy(self, layer: Any, name: str, last: bool) -> Callable[..., Any]:
        """Return what does the layer's work in the copy."""
        import keras

        config = {**layer.get_config(), "name": name}
        if not isinstance(layer, keras.Layer):
            return type(layer).from_config(config)
        if last and isinstance(layer, keras.layers.Softmax):
            return lambda inputs, **_: inputs
        config["dtype"] = "float32"
        activation = getattr(layer, "activation", None)
        if last and "activation" in config:
            config["activation"] = activation = keras.activations.linear
        if self.rectify is not None and activation is keras.activations.relu:
            config["activation"] = activation = self.rectify
        opened = name in self.opened
        split = opened and self.before_activation and activation not in (None, keras.activations.linear)
        if split:
            config["activation"] = keras.activations.linear
        copy = type(layer).from_config(config)
        if self.rectify is not None and isinstance(layer, keras.layers.ReLU):
            copy = keras.layers.Activation(self.rectify, dtype="float32", name=name)

        def apply(*args: Any, **kwargs: Any) -> Any:
            output = copy(*args, **kwargs)
            if layer.weights:
                # Copies of the numbers: JAX frees arrays that two models share.
                copy.set_weights([np.array(keras.ops.convert_to_numpy(weight)) for weight in layer.weights])
            if opened:
                output = self._open(name, output)
            if not split:
                return output
            return keras.layers.Activation(activation, dtype="float32", name=f"{name}.activation")(output)

        return apply

    def _open(self, name: str, output: Any) -> Any:
        import keras

        change = keras.Input(output.shape[1:], name=f"{name}.change")
        changed = keras.layers.Add(dtype="float32", name=f"{name}.changed")([output, change])
        self.openings[name] = (change, changed)
        return changed


def _find_node(net: "keras.Model", layer: Any) -> Any:
    """Return the one place where a net uses a layer; the layer may also be part of other nets."""
    known = {id(node) for nodes in net._nodes_by_depth.values() for node in nodes}
    nodes = [node for node in layer._inbound_nodes if id(node) in known]
    if len(nodes) != 1:
        raise ValueError(f"{net.name} uses layer {layer.name!r} in {len(nodes)} places, expected 1 to explain it")
    return nodes[0]
