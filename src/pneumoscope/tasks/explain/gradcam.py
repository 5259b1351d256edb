"""Grad-CAM of one layer, in the two ways that the pictures of this project use (see `cams`)."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.tasks.explain.methods import explain

if TYPE_CHECKING:
    import keras


def compute_gradcam(
    model: "keras.Model",
    images: np.ndarray,
    *,
    layer: str,
    class_indices: ArrayLike | None = None,
    average_gradients: bool = False,
) -> np.ndarray:
    """Return the heat-map of each image.

    Args:
        model, images, layer, class_indices: see `explain`.
        average_gradients: whether to average gradients over the layer, as Grad-CAM was published, instead of
            taking them place by place (HiResCAM).

    Returns:
        `(n, H, W)` float32 in [0, 1], as `explain` does.
    """
    method = "gradcam" if average_gradients else "hirescam"
    return explain(model, images, method=method, layer=layer, class_indices=class_indices)
