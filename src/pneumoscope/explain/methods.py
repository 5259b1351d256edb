"""`explain`: all explanation methods by name. Each method is registered in `METHODS` of its file."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.explain import cams, gradients, perturbations
from pneumoscope.explain.scorer import Scorer

if TYPE_CHECKING:
    import keras

IMAGES_AT_ONCE = 64

METHODS = {**cams.METHODS, **gradients.METHODS, **perturbations.METHODS}
SLOW_METHODS = (*cams.SLOW_METHODS, *perturbations.SLOW_METHODS)


def explain(
    model: "keras.Model | Scorer",
    images: np.ndarray,
    *,
    method: str = "gradcam",
    layer: str | None = None,
    class_indices: ArrayLike | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Return a heatmap of the evidence for a class in each image.

    The score is the logit of the class. Gradients after a sigmoid or softmax vanish for confident predictions and mix
    classes.

    Args:
        model: built Keras functional classifier of `(n, H, W, 1)` images with values 0 to 255, on any backend; it may
            contain nested models. Or a `Scorer` of such a classifier and of its layer, which several calls share.
        images: `(n, H, W)` uint8.
        method: one of `METHODS`.
        layer: layer of class-activation maps, with output `(n, h, w, filters)`, see `Scorer`; not used with a `Scorer`.
        class_indices: `(n,)` ints, the class to explain for each image; by default the predicted class.
        seed: of the masks of RISE and the noise of SmoothGrad.

    Returns:
        `(n, H, W)` float32 in [0, 1]; the maximum of each map is 1, or 0 if the map is empty.

    Raises:
        ValueError: if the method or layer does not exist, the layer has no feature map, the images are not uint8 of
            the model's input size, or `class_indices` is invalid.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    scorer = model if isinstance(model, Scorer) else Scorer(model, layer)
    chosen = scorer.choose(class_indices, images)
    heatmaps = np.zeros(images.shape, np.float32)
    # Feature maps of early layers are large: process in batches.
    for start in range(0, len(images), IMAGES_AT_ONCE):
        batch = slice(start, start + IMAGES_AT_ONCE)
        heatmaps[batch] = METHODS[method](scorer, images[batch], chosen[batch], seed=seed)
    return heatmaps
