"""Images drawn to excite a class or a filter: what a net would like to see, whether or not any film shows it."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from pneumoscope.models.gradient import compile_gradient
from pneumoscope.models.linear import copy_linear, find_layer
from pneumoscope.progress import track

if TYPE_CHECKING:
    import keras

STEP = 3.0  # gray levels, on average over the pixels
MIDDLE = 128.0
_BLUR_EVERY = 4
_BLUR = 0.6  # pixels
_DECAY = 0.01  # of the way back to the middle gray, each step


def maximize_activation(
    model: "keras.Model", *, layer: str | None = None, filter_index: int = 0, num_steps: int = 96, seed: int = 0
) -> np.ndarray:
    """Return an image that excites a filter of a layer, or a class, as strongly as steps uphill make it.

    From faint noise, gradient ascent on the filter's mean answer, or on the class's score before the last sigmoid or
    softmax. So that it finds shapes and no noise, the image is drawn back to gray a little at each step, blurred now
    and then, and moved by a pixel or two before each step (J. Yosinski et al., "Understanding Neural Networks Through
    Deep Visualization", 2015; C. Olah, A. Mordvintsev and L. Schubert, "Feature Visualization", Distill 2017).

    Args:
        model: a built Keras functional classifier of `(n, H, W, 1)` images with values 0 to 255.
        layer: see `explain`; None for the classes themselves.
        filter_index: which filter of the layer, or which class.
        num_steps: how many steps uphill.
        seed: of the noise and the moves.

    Returns:
        `(H, W)` float32 in [0, 1].

    Raises:
        ValueError: if the layer or the filter is not there.
    """
    import keras
    from keras import ops

    flat = copy_linear(model)
    if layer is not None:
        name = find_layer(flat, layer)
        if name not in {item.name for item in flat.layers}:
            known = ", ".join(item.name for item in flat.layers)
            raise ValueError(f"layer {layer!r} is not in the model; name one of {known}")
        cells = flat.get_layer(name).output
        flattened = keras.layers.Reshape((-1, cells.shape[-1]), dtype="float32")(cells)
        flat = keras.Model(flat.input, keras.layers.GlobalAveragePooling1D(dtype="float32")(flattened))
    count = flat.outputs[0].shape[-1]
    if not 0 <= filter_index < count:
        raise ValueError(f"filter_index is {filter_index}, expected 0 to {count - 1}")
    differentiate, chosen = compile_gradient(flat, [0]), np.eye(count, dtype=np.float32)[[filter_index]]
    rng = np.random.default_rng(seed)
    image = (MIDDLE + 8 * rng.standard_normal(flat.inputs[0].shape[1:3])).astype(np.float32)
    for step in track(range(num_steps), "Maximizing activation"):
        moves = rng.integers(-2, 3, 2)
        moved = np.roll(image, moves, (0, 1))
        _, (gradient,) = differentiate([moved[None, ..., None]], chosen)
        uphill = np.roll(ops.convert_to_numpy(gradient)[0, ..., 0], -moves, (0, 1))
        image = image + STEP * uphill / (np.abs(uphill).mean() + 1e-12)
        image = np.clip(image + _DECAY * (MIDDLE - image), 0, 255).astype(np.float32)
        if step % _BLUR_EVERY == _BLUR_EVERY - 1:
            image = gaussian_filter(image, _BLUR, mode="nearest")
    return image / 255
