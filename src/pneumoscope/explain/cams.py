"""Class-activation maps: weighted sums of the feature maps of a layer, upsampled to the image.

Methods differ in the weights. `features` and `gradients` are `(n, h, w, filters)` float32, the feature maps and the
score gradients at the layer. Each method returns `(n, H, W)` float32 in [0, 1]: negative values are set to 0, and the
maximum of each map is 1, or 0 if the map is empty.

Grad-CAM averages gradients over positions. The models of the reference study flatten their last feature maps, so the
sign of a gradient depends on the position: on phantoms, Grad-CAM misses most lesions and HiResCAM detects most, and on
radiographs the Grad-CAM map of a pneumonia may be empty. For models with global average pooling and one Dense layer,
both methods equal the class-activation map of B. Zhou et al. (2016).
"""

from collections.abc import Callable

import numpy as np

from pneumoscope.explain.scorer import BATCH_SIZE, Method, Scorer
from pneumoscope.progress import track

_SMALLEST = 1e-12


def gradcam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Weight each filter by the mean of its gradients (R. R. Selvaraju et al., "Grad-CAM", ICCV 2017, equation 1)."""
    return np.asarray((features * gradients.mean(axis=(1, 2), keepdims=True)).sum(axis=-1))


def hirescam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Multiply position by position (R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM", 2020)."""
    return np.asarray((features * gradients).sum(axis=-1))


def layercam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Multiply by gradients above 0 (P.-T. Jiang et al., "LayerCAM", IEEE TIP 2021, equation 6)."""
    return np.asarray((features * np.maximum(gradients, 0)).sum(axis=-1))


def xgradcam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Average the gradients of each filter weighted by its activations (R. Fu et al., "Axiom-based Grad-CAM", 2020)."""
    active = features.sum(axis=(1, 2), keepdims=True)
    active = np.where(np.abs(active) > _SMALLEST, active, 1)
    weights = (gradients * features).sum(axis=(1, 2), keepdims=True) / active
    return np.asarray((features * weights).sum(axis=-1))


def gradcam_plus_plus(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Weight the positive gradients of each position (A. Chattopadhay et al., "Grad-CAM++", WACV 2018, equation 19).

    The derivatives are those of the exponential of the score. In ReLU models, its higher derivatives are powers of the
    first one.
    """
    squares = gradients**2
    shares = 2 * squares + gradients * squares * features.sum(axis=(1, 2), keepdims=True)
    shares = np.divide(squares, shares, out=np.zeros_like(squares), where=np.abs(shares) > _SMALLEST)
    weights = (shares * np.maximum(gradients, 0)).sum(axis=(1, 2), keepdims=True)
    return np.asarray((features * weights).sum(axis=-1))


def eigencam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return the first principal component (M. B. Muhammad and M. Yeasin, "Eigen-CAM", IJCNN 2020).

    The map does not depend on the class. Its sign is chosen such that the sum is positive.
    """
    flat = features.reshape(len(features), -1, features.shape[-1])
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    maps = np.einsum("npf,nf->np", flat, directions[:, 0])
    maps *= np.where(maps.sum(axis=1, keepdims=True) < 0, -1, 1)
    return np.asarray(maps.reshape(features.shape[:3]))


def _from_gradients(weigh: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Method:
    """Return a method that upsamples `weigh(features, gradients)`; both arguments are `(n, h, w, filters)`."""

    def method(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
        return scorer.upsample(weigh(*scorer.differentiate_layer(images, chosen)))

    return method


def scorecam(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Weight each filter by the class score of the image masked with its feature map.

    H. Wang et al., "Score-CAM", CVPR 2020 workshops, with a softmax of the scores over filters. Masked pixels are
    black.
    """
    features, _ = scorer.differentiate_layer(images, chosen)
    maps = np.zeros(features.shape[:3], np.float32)
    for number in track(range(len(images)), "Score-CAM"):
        active = np.flatnonzero(features[number].max(axis=(0, 1)) > 0)
        if not len(active):
            continue
        shown = np.moveaxis(features[number][..., active], -1, 0)
        scores = scorer.score(scorer.upsample(shown) * images[number]) @ chosen[number]
        weights = np.exp(scores - scores.max())
        maps[number] = np.tensordot(weights / weights.sum(), shown, axes=1)
    return scorer.upsample(maps)


def ablationcam(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Weight each filter by the drop of the class score without it.

    S. Desai and H. G. Ramaswamy, "Ablation-CAM", WACV 2020, equation 1; the drop is relative to the absolute score.
    """
    features, _ = scorer.differentiate_layer(images, chosen)
    whole = (scorer.score(images.astype(np.float32)) * chosen).sum(axis=1)
    maps = np.zeros(features.shape[:3], np.float32)
    for number in track(range(len(images)), "Ablation-CAM"):
        active = np.flatnonzero(np.abs(features[number]).max(axis=(0, 1)) > 0)
        for start in range(0, len(active), BATCH_SIZE):
            some = active[start : start + BATCH_SIZE]
            change = np.zeros((len(some), *features.shape[1:]), np.float32)
            change[np.arange(len(some)), ..., some] = -np.moveaxis(features[number][..., some], -1, 0)
            pixels = np.repeat(images[number : number + 1].astype(np.float32), len(some), axis=0)
            fall = whole[number] - scorer.score(pixels, change=change) @ chosen[number]
            maps[number] += features[number][..., some] @ (fall / max(abs(float(whole[number])), _SMALLEST))
    return scorer.upsample(maps)


METHODS: dict[str, Method] = {
    "gradcam": _from_gradients(gradcam),
    "gradcam++": _from_gradients(gradcam_plus_plus),
    "hirescam": _from_gradients(hirescam),
    "layercam": _from_gradients(layercam),
    "xgradcam": _from_gradients(xgradcam),
    "eigencam": _from_gradients(eigencam),
    "scorecam": scorecam,
    "ablationcam": ablationcam,
}
SLOW_METHODS = ("scorecam", "ablationcam")  # hundreds of predictions per image
