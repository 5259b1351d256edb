"""Class-activation maps: the feature maps of a layer, weighted by their evidence for a class and upsampled.

The methods of this file differ in how they weight the filters. Each returns `(n, H, W)` float32 in [0, 1], where
evidence against the class counts as 0; the largest value of each map is 1, or 0 where there is no evidence for it.

The models of the reference study flatten their last layer, so that a filter may be evidence for a class in one place
and against it in another. Grad-CAM averages that out: on phantoms it misses most lesions and HiResCAM finds most, and
on radiographs its map of a pneumonia may be empty. Where global averaging and one Dense layer follow, the two are
equal, and equal to the class-activation map of B. Zhou et al. (2016).
"""

import numpy as np

from pneumoscope.explain.scorer import BATCH_SIZE, Method, Scorer
from pneumoscope.progress import track

_SMALLEST = 1e-12


def gradcam(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Weigh each filter by the mean of its gradients (R. R. Selvaraju et al., "Grad-CAM", ICCV 2017, equation 1)."""
    cells, gradients = scorer.differentiate_layer(images, chosen)
    return scorer.upsample((cells * gradients.mean(axis=(1, 2), keepdims=True)).sum(axis=-1))


def hirescam(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Take gradients place by place (R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM", 2020)."""
    cells, gradients = scorer.differentiate_layer(images, chosen)
    return scorer.upsample((cells * gradients).sum(axis=-1))


def layercam(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Take gradients place by place, where above 0 (P.-T. Jiang et al., "LayerCAM", IEEE TIP 2021, equation 6)."""
    cells, gradients = scorer.differentiate_layer(images, chosen)
    return scorer.upsample((cells * np.maximum(gradients, 0)).sum(axis=-1))


def xgradcam(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Average gradients by how active the filter is at their place (R. Fu et al., "Axiom-based Grad-CAM", 2020)."""
    cells, gradients = scorer.differentiate_layer(images, chosen)
    active = cells.sum(axis=(1, 2), keepdims=True)
    active = np.where(np.abs(active) > _SMALLEST, active, 1)
    weights = (gradients * cells).sum(axis=(1, 2), keepdims=True) / active
    return scorer.upsample((cells * weights).sum(axis=-1))


def gradcam_plus_plus(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Weigh the places of each filter so that several spots count alike.

    A. Chattopadhay et al., "Grad-CAM++", WACV 2018, equation 19, for the exponential of the score, whose higher
    derivatives are powers of the first in nets of ReLUs.
    """
    cells, gradients = scorer.differentiate_layer(images, chosen)
    squares = gradients**2
    shares = 2 * squares + gradients * squares * cells.sum(axis=(1, 2), keepdims=True)
    shares = np.divide(squares, shares, out=np.zeros_like(squares), where=np.abs(shares) > _SMALLEST)
    weights = (shares * np.maximum(gradients, 0)).sum(axis=(1, 2), keepdims=True)
    return scorer.upsample((cells * weights).sum(axis=-1))


def eigencam(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Show the first principal component of the cells (M. B. Muhammad and M. Yeasin, "Eigen-CAM", IJCNN 2020).

    It knows nothing of the class. A component has no sign of its own; it gets the one in which it adds up to more
    than 0 over the image.
    """
    cells, _ = scorer.differentiate_layer(images, chosen)
    flat = cells.reshape(len(cells), -1, cells.shape[-1])
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    maps = np.einsum("npf,nf->np", flat, directions[:, 0])
    maps *= np.where(maps.sum(axis=1, keepdims=True) < 0, -1, 1)
    return scorer.upsample(maps.reshape(cells.shape[:3]))


def scorecam(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Weight each filter by the class's score of the image masked by the filter's map.

    H. Wang et al., "Score-CAM", CVPR 2020 workshops: scores pass through a softmax over the filters. Masked
    pixels become black.
    """
    cells, _ = scorer.differentiate_layer(images, chosen)
    maps = np.zeros(cells.shape[:3], np.float32)
    for number in track(range(len(images)), "Score-CAM"):
        active = np.flatnonzero(cells[number].max(axis=(0, 1)) > 0)
        if not len(active):
            continue
        shown = np.moveaxis(cells[number][..., active], -1, 0)
        scores = scorer.score(scorer.upsample(shown) * images[number]) @ chosen[number]
        weights = np.exp(scores - scores.max())
        maps[number] = np.tensordot(weights / weights.sum(), shown, axes=1)
    return scorer.upsample(maps)


def ablationcam(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Weigh each filter by how far the class's score falls without it.

    S. Desai and H. G. Ramaswamy, "Ablation-CAM", WACV 2020, equation 1; the fall is taken relative to the size of
    the score, whatever its sign.
    """
    cells, _ = scorer.differentiate_layer(images, chosen)
    whole = (scorer.score(images.astype(np.float32)) * chosen).sum(axis=1)
    maps = np.zeros(cells.shape[:3], np.float32)
    for number in track(range(len(images)), "Ablation-CAM"):
        active = np.flatnonzero(np.abs(cells[number]).max(axis=(0, 1)) > 0)
        for start in range(0, len(active), BATCH_SIZE):
            some = active[start : start + BATCH_SIZE]
            change = np.zeros((len(some), *cells.shape[1:]), np.float32)
            change[np.arange(len(some)), ..., some] = -np.moveaxis(cells[number][..., some], -1, 0)
            pixels = np.repeat(images[number : number + 1].astype(np.float32), len(some), axis=0)
            fall = whole[number] - scorer.score(pixels, change=change) @ chosen[number]
            maps[number] += cells[number][..., some] @ (fall / max(abs(float(whole[number])), _SMALLEST))
    return scorer.upsample(maps)


METHODS: dict[str, Method] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "hirescam": hirescam,
    "layercam": layercam,
    "xgradcam": xgradcam,
    "eigencam": eigencam,
    "scorecam": scorecam,
    "ablationcam": ablationcam,
}
SLOW_METHODS = ("scorecam", "ablationcam")  # hundreds of predictions an image
