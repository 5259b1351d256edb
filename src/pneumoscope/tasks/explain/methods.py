"""Every way to ask a net why, behind one call."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.tasks.explain import cams, gradients, perturbations
from pneumoscope.tasks.explain.scorer import Scorer

if TYPE_CHECKING:
    import keras

IMAGES_AT_ONCE = 64

Method = Callable[..., np.ndarray]

METHODS: dict[str, Method] = {
    "gradcam": cams.gradcam,
    "gradcam++": cams.gradcam_plus_plus,
    "hirescam": cams.hirescam,
    "layercam": cams.layercam,
    "xgradcam": cams.xgradcam,
    "eigencam": cams.eigencam,
    "scorecam": cams.scorecam,
    "ablationcam": cams.ablationcam,
    "guided_backprop": gradients.guided_backprop,
    "integrated_gradients": gradients.integrated_gradients,
    "smoothgrad": gradients.smoothgrad,
    "fullgrad": gradients.fullgrad,
    "occlusion": perturbations.occlusion,
    "rise": perturbations.rise,
}
# They look through a layer.
LAYER_METHODS = tuple(name for name, method in METHODS.items() if method.__module__ == cams.__name__)
# They take hundreds of looks at each image.
SLOW_METHODS = ("scorecam", "ablationcam", "occlusion", "rise")


def explain(
    model: "keras.Model",
    images: np.ndarray,
    *,
    method: str = "gradcam",
    layer: str | None = None,
    class_indices: ArrayLike | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Return the heat-map of each image: where it speaks for a class.

    The score is that of the class before the final sigmoid or softmax: behind it, the gradient of a sure decision
    vanishes and that of one class mixes with all others.

    Args:
        model: a built Keras functional classifier of `(n, H, W, 1)` images with values 0 to 255, on any backend;
            it may hold other nets.
        images: `(n, H, W)` uint8.
        method: one of `METHODS`, where each is described.
        layer: for the class-activation maps, name of the layer to look through, or the way to it through nets
            within the net, `inner/layer`; its output is `(n, h, w, filters)`. By default the last convolutional.
        class_indices: `(n,)` ints, the class to explain for each image; by default the decided one.
        seed: of the masks of RISE and the noise of SmoothGrad.

    Returns:
        `(n, H, W)` float32 in [0, 1]; the largest value of each map is 1, or 0 where nothing spoke for the class.

    Raises:
        ValueError: if the method or the layer is not there, the layer has no grid of cells, the images are not of
            the model's size or not uint8, or the classes do not fit.
    """
    return explain_with(Scorer(model, layer), images, method=method, class_indices=class_indices, seed=seed)


def explain_with(
    scorer: Scorer, images: np.ndarray, *, method: str, class_indices: ArrayLike | None = None, seed: int = 0
) -> np.ndarray:
    """Do what `explain` does with a net that is opened already: cheaper where several methods look at one net."""
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
