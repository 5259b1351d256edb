"""Metrics of subgroups: by decision, class, file series, exposure, and the manifest's columns age, sex and view."""

from collections.abc import Iterator

import numpy as np

from pneumoscope.data.collection import name_series
from pneumoscope.io.results import EvaluatedImages, Evaluation, Scope, Subgroup
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.metrics.classification import estimate_share, evaluate, evaluate_scores
from pneumoscope.metrics.operating_points import estimate_specificity

MIN_IMAGES = 10
MAX_SERIES = 8
AGE_BANDS = ((0, 5), (6, 17), (18, 39), (40, 59), (60, 120))
UNKNOWN_SUBTYPE = "pneumonia, subtype unknown"

Group = tuple[str, str, np.ndarray]


def measure_scopes(
    images: EvaluatedImages, thresholds: dict[str, float], *, split: str, seed: int = 0
) -> dict[str, Scope]:
    """Return the metrics of three scopes; a scope without images is omitted.

    The scopes are `all` images, the images `accepted` by the OOD detector, and the accepted images that are not
    uncertain (`certain`).

    Args:
        images: the evaluated images.
        thresholds: thresholds on the probability of pneumonia, by operating point.
        split: name of the split, stored in the result.
        seed: seed of the bootstrap.
    """
    masks = {
        "all": np.ones(len(images), dtype=bool),
        "accepted": images.decisions != "rejected",
        "certain": np.isin(images.decisions, BINARY_CLASSES),
    }
    return {
        name: _measure_scope(images.select(rows), thresholds, split, seed) for name, rows in masks.items() if rows.any()
    }


def measure_subgroups(
    images: EvaluatedImages, exposures: np.ndarray, traits: dict[str, np.ndarray], threshold: float, *, seed: int = 0
) -> list[Subgroup]:
    """Return the metrics of each subgroup of ten images or more.

    Args:
        images: the evaluated images.
        exposures: `(n,)` floats, mean gray levels.
        traits: `age`, `sex`, `view`, each `(n,)` str, empty if unknown.
        threshold: a case counts as pneumonia when `probability >= threshold`.
        seed: seed of the bootstrap.
    """
    by_class = (("class", name, rows) for name, rows in list_classes(images).items())
    groups = [*by_class, *_by_series(images), *_by_exposure(exposures), *_by_traits(traits)]
    return [
        _measure_subgroup(trait, name, images.select(rows), threshold, seed)
        for trait, name, rows in groups
        if rows.sum() >= MIN_IMAGES
    ]


def list_classes(images: EvaluatedImages) -> dict[str, np.ndarray]:
    """Return masks of the three classes and of pneumonia of unknown subtype, each `(n,)` bool."""
    masks = {name: images.subtypes == number for number, name in enumerate(THREE_CLASSES)}
    return {**masks, UNKNOWN_SUBTYPE: (images.labels == 1) & (images.subtypes < 0)}


def _measure_scope(images: EvaluatedImages, thresholds: dict[str, float], split: str, seed: int) -> Scope:
    labels, scores, patients = images.labels, images.scores, images.patients
    metrics = evaluate_scores(labels, scores, thresholds, patients=patients, seed=seed)
    ranking = {name: metrics[name] for name in ("auroc", "auprc")}
    ranking["specificity_at_sensitivity"] = estimate_specificity(labels, scores, patients, seed=seed)
    points = {
        name: {
            "sensitivity": metrics[f"flagged_pneumonia_{name}"],
            "specificity": metrics[f"flagged_normal_{name}"].complement(),
            "accuracy": metrics[f"accuracy_{name}"],
        }
        for name in thresholds
    }
    return Scope(len(images), len(set(patients.tolist())), ranking, points, _measure_three_class(images, split, seed))


def _measure_three_class(images: EvaluatedImages, split: str, seed: int) -> Evaluation | None:
    labeled = images.with_subtypes
    if labeled is None:
        return None
    return evaluate(
        labeled.subtypes,
        labeled.probabilities,
        classes=THREE_CLASSES,
        split=split,
        patients=labeled.patients,
        names=labeled.names,
        seed=seed,
    )


def _measure_subgroup(trait: str, name: str, images: EvaluatedImages, threshold: float, seed: int) -> Subgroup:
    scope = _measure_scope(images, {"point": threshold}, name, seed)
    metrics = {**scope.points["point"], "auroc": scope.ranking["auroc"]}
    metrics = {metric: estimate for metric, estimate in metrics.items() if np.isfinite(estimate.value)}
    metrics["rejected"] = estimate_share(images.decisions == "rejected", images.patients, seed=seed)
    return Subgroup(trait, name, len(images), metrics)


def _by_series(images: EvaluatedImages) -> Iterator[Group]:
    series = name_series(images.names)
    names = sorted(set(series.tolist()) - {""})
    if 1 < len(names) <= MAX_SERIES:
        for name in names:
            yield "file series", f"{name}…", series == name


def _by_exposure(exposures: np.ndarray) -> Iterator[Group]:
    low, high = np.quantile(exposures, [1 / 3, 2 / 3])
    yield "exposure", f"dark third, mean gray under {low:.0f}", exposures < low
    yield "exposure", f"middle third, {low:.0f} to {high:.0f}", (exposures >= low) & (exposures < high)
    yield "exposure", f"bright third, from {high:.0f}", exposures >= high


def _by_traits(traits: dict[str, np.ndarray]) -> Iterator[Group]:
    for trait in ("sex", "view"):
        values = traits.get(trait, np.array([], dtype=str))
        for value in sorted(set(values.tolist()) - {""})[:MAX_SERIES]:
            yield trait, value, values == value
    if "age" in traits:
        ages = np.array([float(age) if age.replace(".", "", 1).isdigit() else np.nan for age in traits["age"]])
        for low, high in AGE_BANDS:
            yield "age", f"{low} to {high} years", (ages >= low) & (ages < high + 1)
