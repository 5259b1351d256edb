"""Results of checks of a collection: its audit, and leakage between splits."""

from __future__ import annotations

from dataclasses import dataclass

from pneumoscope.io.results.estimate import Estimate


@dataclass(frozen=True)
class Leakage:
    """A random split by image against one by patient.

    Attributes:
        shared_patients: patients on both sides of the random split.
        leaked_share: share of its validation images whose patient is also trained on, in [0, 1].
        random_split, grouped_split: metrics of the nearest training image on raw pixels under each split.
    """

    shared_patients: int
    leaked_share: float
    random_split: dict[str, Estimate]
    grouped_split: dict[str, Estimate]


@dataclass(frozen=True)
class Audit:
    """Contents and defects of a collection.

    Attributes:
        counts: images by `split/class`, such as `train/normal` or `test/bacterial`.
        patients: patients by split.
        normal_share: share of normals by split.
        unreadable: `{name, reason}` of each file left out.
        exact_duplicates: groups of names with the same bytes.
        near_duplicates: pairs of names whose perceptual hashes are close.
        shared_patients: patient identifiers in more than one official split.
        shared_numbers: patient numbers that appear in train and in test but, by the naming scheme, are not
            known to be the same child.
        sizes: `{width, height, count}` of the most frequent file sizes.
        exposure: by class, quantiles of mean gray level: `{class: [q05, q25, q50, q75, q95]}`.
        notes: sentences for a reader.
    """

    counts: dict[str, int]
    patients: dict[str, int]
    normal_share: dict[str, float]
    unreadable: list[dict[str, str]]
    exact_duplicates: list[list[str]]
    near_duplicates: list[list[str]]
    shared_patients: list[str]
    shared_numbers: list[str]
    sizes: list[dict[str, int]]
    exposure: dict[str, list[float]]
    notes: list[str]
