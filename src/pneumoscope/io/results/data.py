"""Results of the audit of a collection and of leakage between splits."""

from __future__ import annotations

from dataclasses import dataclass, field

from pneumoscope.io.results.estimate import Estimate


@dataclass(frozen=True)
class Leakage:
    """A random split by image compared with a split by patient.

    Attributes:
        shared_patients: number of patients in both training and validation of the random split.
        leaked_share: share of the random split's validation images whose patient is also in training, in [0, 1].
        random_split, grouped_split: metrics of a 1-nearest-neighbor classifier on raw pixels under each split.
    """

    shared_patients: int
    leaked_share: float
    random_split: dict[str, Estimate]
    grouped_split: dict[str, Estimate]


@dataclass(frozen=True)
class Audit:
    """Contents and defects of a collection.

    Attributes:
        counts: images by `split/class`, such as `train/normal`.
        patients: patients by split.
        negative_share: share of the negative class by split; empty without one.
        unreadable: `{name, reason}` of each skipped file.
        exact_duplicates: groups of names with identical bytes.
        near_duplicates: pairs of names with similar perceptual hashes.
        shared_patients: patient identifiers in more than one official split.
        shared_numbers: patient numbers in both train and test that may or may not mean the same child.
        sizes: `{width, height, count}` of the most frequent image sizes.
        exposure: by class, quantiles of mean gray level: `{class: [q05, q25, q50, q75, q95]}`.
        notes: findings as sentences.
        images: images by split; in `counts`, one with several findings counts for each.
    """

    counts: dict[str, int]
    patients: dict[str, int]
    negative_share: dict[str, float]
    unreadable: list[dict[str, str]]
    exact_duplicates: list[list[str]]
    near_duplicates: list[list[str]]
    shared_patients: list[str]
    shared_numbers: list[str]
    sizes: list[dict[str, int]]
    exposure: dict[str, list[float]]
    notes: list[str]
    images: dict[str, int] = field(default_factory=dict)
