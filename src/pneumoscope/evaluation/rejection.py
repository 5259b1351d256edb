"""What the reader refuses or leaves unsure, and what that costs and spares."""

import re
from collections import Counter

import numpy as np

from pneumoscope.io.results import Estimate, EvaluatedImages, Rejections
from pneumoscope.labels import BINARY_CLASSES
from pneumoscope.metrics.classification import estimate_share


def measure_rejections(images: EvaluatedImages, threshold: float, *, seed: int = 0) -> Rejections:
    """Return shares refused and unsure, why, and how right the answers are that are given and held back.

    Args:
        images: all that were read.
        threshold: probability from which a case counts as pneumonia.
        seed: of the resampling.
    """
    refused, not_sure = images.decisions == "refused", images.decisions == "not sure"
    right = (1 - images.probabilities[:, 0] >= threshold) == (images.labels == 1)
    kinds = {"all": ~refused, "sure": ~refused & ~not_sure, "not_sure": not_sure}
    return Rejections(
        refused=_share_by_class(refused, images, seed),
        unlike=_share_by_class(~refused & ~images.in_domain, images, seed),
        not_sure=_share_by_class(not_sure, images, seed),
        refusals=_count_remarks(images.reasons[refused]),
        remarks=_count_remarks(images.reasons[~refused]),
        answers={
            name: estimate_share(right[rows], images.patients[rows], seed=seed)
            for name, rows in kinds.items()
            if rows.any()
        },
    )


def _count_remarks(reasons: np.ndarray) -> dict[str, int]:
    """Return how many images carry each sentence, the most frequent first."""
    sentences = (sentence for reason in reasons for sentence in re.findall(r"[^.]+\.", reason))
    return dict(Counter(sentence.strip() for sentence in sentences).most_common())


def _share_by_class(flags: np.ndarray, images: EvaluatedImages, seed: int) -> dict[str, Estimate]:
    rows = {"all": images.labels >= 0, **{name: images.labels == label for label, name in enumerate(BINARY_CLASSES)}}
    return {
        name: estimate_share(flags[of_class], images.patients[of_class], seed=seed)
        for name, of_class in rows.items()
        if of_class.any()
    }
