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
LAYER_METHODS = tuple(cams.METHODS)
SLOW_METHODS = (*cams.SLOW_METHODS, *perturbations.SLOW_METHODS)


def explain(
    model: "keras.Model",
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
            contain nested models.
        images: `(n, H, W)` uint8.
        method: one of `METHODS`.
        layer: layer of class-activation maps, with output `(n, h, w, filters)`; see `Scorer`.
        class_indices: `(n,)` ints, the class to explain for each image; by default the predicted class.
        seed: of the masks of RISE and the noise of SmoothGrad.

    Returns:
        `(n, H, W)` float32 in [0, 1]; the maximum of each map is 1, or 0 if the map is empty.

    Raises:
        ValueError: if the method or layer does not exist, the layer has no feature map, the images are not uint8 of
            the model's input size, or `class_indices` is invalid.
    """
    return explain_with(Scorer(model, layer), images, method=method, class_indices=class_indices, seed=seed)


def explain_with(
    scorer: Scorer, images: np.ndarray, *, method: str, class_indices: ArrayLike | None = None, seed: int = 0
) -> np.ndarray:
    """Return the heatmaps of `explain`, with a scorer that several methods share.

    Args:
        scorer: of the classifier and layer.
        images: `(n, H, W)` uint8.
        method: one of `METHODS`.
        class_indices: `(n,)` ints, the class to explain for each image; by default the predicted class.
        seed: of the masks of RISE and the noise of SmoothGrad.

    Returns:
        `(n, H, W)` float32 in [0, 1].

    Raises:
        ValueError: see `explain`.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    scorer.check_images(images)
    chosen = scorer.choose(class_indices, images)
    heatmaps = np.zeros(images.shape, np.float32)
    # Feature maps of early layers are large: process in batches.
    for start in range(0, len(images), IMAGES_AT_ONCE):
        batch = slice(start, start + IMAGES_AT_ONCE)
        heatmaps[batch] = METHODS[method](scorer, images[batch], chosen[batch], seed=seed)
    return heatmaps
