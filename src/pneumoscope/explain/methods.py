"""All explanation methods behind one call: `explain`. Each is registered in `METHODS` of its own file."""

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
    """Return the heat-map of each image: where the evidence for a class lies.

    The score is the logit of the class: behind the sigmoid or softmax, the gradient of a confident decision vanishes
    and that of one class mixes with all others.

    Args:
        model: a built Keras functional classifier of `(n, H, W, 1)` images with values 0 to 255, on any backend;
            it may hold nested models.
        images: `(n, H, W)` uint8.
        method: one of `METHODS`, where each is described.
        layer: for the class-activation maps, name of the layer, or the path to it in nested models,
            `inner/layer`; its output is `(n, h, w, filters)`. By default the last convolutional.
        class_indices: `(n,)` ints, the class to explain for each image; by default the decided one.
        seed: of the masks of RISE and the noise of SmoothGrad.

    Returns:
        `(n, H, W)` float32 in [0, 1]; the largest value of each map is 1, or 0 without evidence for the class.

    Raises:
        ValueError: if the method or the layer is not there, the layer has no grid of cells, the images are not of
            the model's size or not uint8, or the classes do not fit.
    """
    return explain_with(Scorer(model, layer), images, method=method, class_indices=class_indices, seed=seed)


def explain_with(
    scorer: Scorer, images: np.ndarray, *, method: str, class_indices: ArrayLike | None = None, seed: int = 0
) -> np.ndarray:
    """Do what `explain` does with a scorer, which several methods can share."""
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    scorer.check_images(images)
    chosen = scorer.choose(class_indices, images)
    heatmaps = np.zeros(images.shape, np.float32)
    # The cells of early layers are large: they are not kept of all images at once.
    for start in range(0, len(images), IMAGES_AT_ONCE):
        some = slice(start, start + IMAGES_AT_ONCE)
        heatmaps[some] = METHODS[method](scorer, images[some], chosen[some], seed=seed)
    return heatmaps
