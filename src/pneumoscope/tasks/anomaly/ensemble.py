"""Several detectors as one: the mean of how far up among held-out normals each of them puts an image."""

from collections.abc import Mapping

import numpy as np

from pneumoscope.results import Detection

NUM_JOINED = 3


def rank_among_normals(held_out: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return how far up among held-out normals scores are, as shares; beyond the highest, the distance counts on.

    A score beyond all normals would else be at 1 whatever it is. It gets 1 plus its distance from the highest normal,
    in units of the distance from the median to the highest.

    Args:
        held_out: `(m,)` floats.
        scores: `(n,)` floats.

    Returns:
        `(n,)` float32, 0 or more.

    Example:
        >>> rank_among_normals(np.array([0.0, 1.0, 2.0]), np.array([-1.0, 1.0, 3.0])).tolist()
        [0.0, 0.5, 2.0]
    """
    ordered = np.sort(np.asarray(held_out, dtype=np.float64))
    shares = np.interp(scores, ordered, np.linspace(0, 1, len(ordered)))
    scale = ordered[-1] - np.median(ordered)
    beyond = np.maximum(np.asarray(scores, dtype=np.float64) - ordered[-1], 0) / scale if scale > 0 else 0.0
    return (shares + beyond).astype(np.float32)


def choose_members(detections: Mapping[str, Detection], *, num_joined: int = NUM_JOINED) -> tuple[str, ...]:
    """Return the methods that find drawn opacities on held-out normals best; no sick image is asked.

    Args:
        detections: by method.
        num_joined: how many, at most.
    """
    by_rank = sorted(detections, key=lambda name: -detections[name].metrics["auroc_drawn"].value)
    return tuple(by_rank[:num_joined])


def join_ranks(held_out: list[np.ndarray], scores: list[np.ndarray]) -> np.ndarray:
    """Return `(n,)` float32, the mean over detectors of the rank of each image among the detector's held-out normals.

    Args:
        held_out: `(m,)` for each detector.
        scores: `(n,)` for each detector.
    """
    ranks = [rank_among_normals(normal, score) for normal, score in zip(held_out, scores, strict=True)]
    return np.mean(ranks, axis=0).astype(np.float32)
