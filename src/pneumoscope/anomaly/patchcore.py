"""Anomaly detection by the distance from a memory bank of patch features of normals (PatchCore).

Source: K. Roth, L. Pemula, J. Zepeda, B. Schölkopf, T. Brox and P. Gehler, "Towards Total Recall in Industrial Anomaly
Detection", CVPR 2022.
"""

from dataclasses import dataclass

import numpy as np

from pneumoscope.anomaly.detector import split_images, upsample_maps
from pneumoscope.anomaly.features import MAP_BLUR, FeatureSource, extract_patches
from pneumoscope.errors import TrainingError
from pneumoscope.progress import track


@dataclass(frozen=True)
class PatchcoreSettings:
    """Size of the memory bank, and how an image is scored with it.

    Attributes:
        num_remembered: patches of the bank, at most.
        num_candidates: random patches that they are chosen from, at most; bounds the memory of fitting.
        num_neighbors: of the bank, for the weight of the score.
        projected: dimensions of the random projection in which the bank is chosen (Johnson-Lindenstrauss).
    """

    num_remembered: int = 2000
    num_candidates: int = 30_000
    num_neighbors: int = 9
    projected: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.num_remembered <= self.num_candidates or self.num_neighbors < 1:
            raise ValueError(
                f"num_remembered {self.num_remembered} is expected to be 1 to num_candidates {self.num_candidates}, "
                f"num_neighbors {self.num_neighbors} to be 1 or more"
            )


@dataclass(frozen=True)
class Patchcore:
    """A memory bank of patches of normals.

    Attributes:
        source: of the patch features.
        bank: `(m, d)` float32.
        settings: how an image is scored.
    """

    source: FeatureSource
    bank: np.ndarray
    settings: PatchcoreSettings

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the weighted largest distance of a patch from the bank."""
        scores = []
        for part in track(split_images(images), "Scoring by PatchCore"):
            patches = extract_patches(self.source, part)
            scores.append(self._weigh_largest(patches, *self._measure(patches)))
        return np.concatenate(scores).astype(np.float32)

    def anomaly_maps(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, the distance of each patch from the bank."""
        maps = [
            upsample_maps(self._measure(extract_patches(self.source, part))[0], images.shape[1], blur=MAP_BLUR)
            for part in split_images(images)
        ]
        return np.concatenate(maps)

    def _measure(self, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return distance and index of the nearest remembered patch, `(n, h, w)` each."""
        shape = patches.shape[:3]
        distances, nearest = [], []
        for image in patches.reshape(shape[0], -1, patches.shape[-1]):
            squares = _square_distances(image, self.bank)
            nearest.append(squares.argmin(axis=1))
            distances.append(np.sqrt(squares.min(axis=1)))
        return np.stack(distances).reshape(shape).astype(np.float32), np.stack(nearest).reshape(shape)

    def _weigh_largest(self, patches: np.ndarray, distances: np.ndarray, nearest: np.ndarray) -> np.ndarray:
        """Return the largest distance of each image, reduced where the remembered patch is isolated in the bank."""
        rows = np.arange(len(patches))
        worst = distances.reshape(len(patches), -1).argmax(axis=1)
        distance = distances.reshape(len(patches), -1)[rows, worst]
        patch = patches.reshape(len(patches), -1, patches.shape[-1])[rows, worst]
        remembered = self.bank[nearest.reshape(len(patches), -1)[rows, worst]]
        count = min(self.settings.num_neighbors, len(self.bank))
        around = np.argpartition(_square_distances(remembered, self.bank), count - 1, axis=1)[:, :count]
        neighbors = np.linalg.norm(patch[:, None] - self.bank[around], axis=-1)
        # The published ratio of exponentials, shifted so that none overflows; in units of the root of the dimension,
        # since the exponential of a distance among hundreds of channels would decide alone.
        root = np.sqrt(patches.shape[-1])
        highest = np.maximum(neighbors.max(axis=1), distance) / root
        share = np.exp(distance / root - highest) / np.exp(neighbors / root - highest[:, None]).sum(axis=1)
        return (1 - np.minimum(share, 1)) * distance


def fit_patchcore(
    source: FeatureSource, images: np.ndarray, *, settings: PatchcoreSettings | None = None, seed: int = 0
) -> Patchcore:
    """Fill a memory bank with patches of normals that cover all of them.

    Args:
        source: of the patch features.
        images: `(n, H, W)` uint8 normals.
        settings: `PatchcoreSettings()` by default.
        seed: of the candidates, the projection and the first choice.

    Raises:
        TrainingError: if there is no image.
    """
    settings = settings or PatchcoreSettings()
    if not len(images):
        raise TrainingError("there are 0 normals to remember patches of; expected some")
    rng = np.random.default_rng(seed)
    share = -(-settings.num_candidates // len(images))
    candidates = []
    for part in track(split_images(images), f"Gathering patches of {source.name}"):
        cells = extract_patches(source, part)
        flat = cells.reshape(len(cells), -1, cells.shape[-1])
        drawn = np.stack([rng.permutation(flat.shape[1])[:share] for _ in flat])
        candidates.append(np.take_along_axis(flat, drawn[..., None], axis=1).reshape(-1, flat.shape[-1]))
    pool = np.concatenate(candidates)
    pool = pool[np.sort(rng.permutation(len(pool))[: settings.num_candidates])]
    chosen = choose_coreset(pool, settings.num_remembered, projected=settings.projected, seed=seed)
    return Patchcore(source, pool[chosen], settings)


def choose_coreset(points: np.ndarray, num_chosen: int, *, projected: int = 64, seed: int = 0) -> np.ndarray:
    """Choose points so that every other is near one of them, greedily the farthest next.

    Source: O. Sener and S. Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach" (2018).

    Args:
        points: `(n, d)` float32.
        num_chosen: how many, all where there are fewer.
        projected: dimensions of the random projection in which distances are measured.
        seed: of the projection and the first point.

    Returns:
        `(m,)` int, indices in the order of choice.

    Example:
        >>> points = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]], np.float32)
        >>> sorted(choose_coreset(points, 3).tolist())[-1]
        4
    """
    rng = np.random.default_rng(seed)
    if num_chosen >= len(points):
        return np.arange(len(points))
    if projected < points.shape[1]:
        points = points @ (rng.standard_normal((points.shape[1], projected)) / np.sqrt(projected)).astype(np.float32)
    norms = np.einsum("nd,nd->n", points, points)
    chosen = np.empty(num_chosen, np.int64)
    chosen[0] = rng.integers(len(points))
    nearest = np.full(len(points), np.inf, np.float32)
    for number in track(range(1, num_chosen), "Choosing patches to remember"):
        last = chosen[number - 1]
        np.minimum(nearest, norms - 2 * (points @ points[last]) + norms[last], out=nearest)
        nearest[last] = -np.inf
        chosen[number] = nearest.argmax()
    return chosen


def _square_distances(queries: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Return `(n, m)` float32, not negative."""
    squares = -2 * (queries @ bank.T)
    squares += np.einsum("nd,nd->n", queries, queries)[:, None]
    squares += np.einsum("md,md->m", bank, bank)
    return np.maximum(squares, 0, out=squares)
