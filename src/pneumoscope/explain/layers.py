"""The layers of a classifier that heatmaps are computed at."""

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def list_heatmap_layers(model: "keras.Model") -> tuple[str, ...]:
    """Return the names of the layers for heatmaps, in order from the input.

    These are convolutions with an activation. If convolution, normalization and ReLU are separate layers, they are the
    ReLU layers at inputs and outputs of residual blocks. In models with neither, they are the last activation layer at
    each resolution, or else the last convolution at each resolution. Feature maps of one position do not count.

    Raises:
        ValueError: if the model has no convolutional layer.
    """
    import keras
    from keras import layers

    sources = _list_inputs(model)
    by_name = {layer.name: layer for layer in model.operations}
    num_uses = Counter(source for names in sources.values() for source in names)
    mapped = [layer for layer in model.layers if len(layer.output.shape) == 4 and max(layer.output.shape[1:3]) > 1]
    names = tuple(
        layer.name
        for layer in mapped
        if (isinstance(layer, layers.Conv2D) and layer.activation is not keras.activations.linear)
        or (
            isinstance(layer, layers.ReLU)
            and (num_uses[layer.name] > 1 or isinstance(by_name[sources[layer.name][0]], layers.Add))
        )
    )
    activations = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU)
    last_of_size = _find_last(mapped, activations)
    # Layers inside of blocks, such as those for squeeze and excitation, may not reach the last resolution.
    size = by_name[names[-1]].output.shape[1:3] if names else ()
    if names and size <= min(last_of_size, default=size):
        return names
    names = tuple((last_of_size or _find_last(mapped, (layers.Conv2D,))).values())
    if not names:
        raise ValueError(f"model {model.name!r} has no convolutional layer for heatmaps")
    return names


def _find_last(mapped: "list[Any]", kinds: tuple[type, ...]) -> dict[tuple[int, ...], str]:
    """Return the name of the last layer of some kinds by height and width of its feature map."""
    chosen: list[Any] = [layer for layer in mapped if isinstance(layer, kinds)]
    return {tuple(layer.output.shape[1:3]): layer.name for layer in chosen}


def _list_inputs(model: "keras.Model") -> dict[str, list[str]]:
    """Return the names of the input layers of each layer by layer name."""
    import keras

    producers = {id(layer.output): layer.name for layer in model.operations}
    return {
        layer.name: []
        if isinstance(layer, keras.layers.InputLayer)
        else [producers[id(tensor)] for tensor in keras.tree.flatten(layer.input)]
        for layer in model.operations
    }
