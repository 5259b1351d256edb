"""Metrics of subgroups: by decision, class, file series, exposure, and the table's columns age, sex and view."""

from collections.abc import Iterator

import numpy as np

from pneumoscope.data.collection import name_series
from pneumoscope.io.results import Estimate, EvaluatedImages, Evaluation, Scope, Subgroup
from pneumoscope.metrics.classification import estimate_share, evaluate, evaluate_scores
from pneumoscope.metrics.operating_points import estimate_specificity

MIN_IMAGES = 10
MAX_SERIES = 8
AGE_BANDS = ((0, 5), (6, 17), (18, 39), (40, 59), (60, 120))
AVERAGES = ("accuracy", "balanced_accuracy", "subset_accuracy", "macro_f1", "auroc")

Thresholds = dict[str, dict[str, float]]

Group = tuple[str, str, np.ndarray]


def measure_scopes(
    images: EvaluatedImages, thresholds: Thresholds, operating_point: str, *, split: str, seed: int = 0
) -> dict[str, Scope]:
    """Return the metrics of three scopes; a scope without images is omitted.

    The scopes are `all` images, the images `accepted` by the OOD detector, and the accepted images that are not
    uncertain (`certain`).

    Args:
        images: the evaluated images.
        thresholds: thresholds by operating point and name.
        operating_point: operating point of the decisions.
        split: name of the split, stored in the result.
        seed: seed of the bootstrap.
    """
    scopes: dict[str, Scope] = {}
    for name, excluded in (("all", ()), ("accepted", ("rejected",)), ("certain", ("rejected", "uncertain"))):
        rows = ~np.isin(images.decisions, excluded)
        if rows.all() and scopes:
            scopes[name] = scopes["all"]
        elif rows.any():
            part = images.select(rows)
            ranking, points = _measure_positive(part, thresholds, seed)
            classes = _evaluate_classes(part, thresholds.get(operating_point), split, seed)
            scopes[name] = Scope(len(part), len(set(part.patients.tolist())), ranking, points, classes)
    return scopes


def measure_subgroups(
    images: EvaluatedImages,
    exposures: np.ndarray | None,
    traits: dict[str, np.ndarray],
    thresholds: dict[str, float],
    *,
    seed: int = 0,
) -> list[Subgroup]:
    """Return the metrics of each subgroup of ten images or more.

    Args:
        images: the evaluated images.
        exposures: `(n,)` floats, mean gray levels; None if unknown.
        traits: `age`, `sex`, `view`, each `(n,)` str, empty if unknown.
        thresholds: by name, of the operating point.
        seed: seed of the bootstrap.
    """
    by_class = (("class", name, rows) for name, rows in list_classes(images).items())
    by_exposure = () if exposures is None else _by_exposure(exposures)
    groups = [*by_class, *_by_series(images), *by_exposure, *_by_traits(traits)]
    return [
        _measure_subgroup(trait, name, images.select(rows), thresholds, seed)
        for trait, name, rows in groups
        if rows.sum() >= MIN_IMAGES
    ]


def list_classes(images: EvaluatedImages) -> dict[str, np.ndarray]:
    """Return masks of the images of each class and of positive images of unknown class, each `(n,)` bool.

    In a multi-label set, these are the images with each finding, and the images without any.
    """
    label_set, labels = images.label_set, images.labels
    if label_set.multi_label:
        masks = {name: labels[:, number] == 1 for number, name in enumerate(label_set.classes)}
        return {**masks, label_set.without_finding: (labels == 0).all(axis=1)}
    masks = {name: labels == number for number, name in enumerate(label_set.classes)}
    return {**masks, f"{label_set.positive}, class unknown": labels < 0}


def _measure_positive(
    images: EvaluatedImages, thresholds: Thresholds, seed: int
) -> tuple[dict[str, Estimate], dict[str, dict[str, Estimate]]]:
    """Return the ranking metrics of the positive class, and those at each operating point; empty without the class."""
    positive = images.label_set.positive
    if positive is None:
        return {}, {}
    labels, scores, patients = images.positive, images.scores, images.patients
    of_positive = {name: values[positive] for name, values in thresholds.items()}
    metrics = evaluate_scores(labels, scores, of_positive, patients=patients, seed=seed)
    ranking = {name: metrics[name] for name in ("auroc", "auprc")}
    ranking["specificity_at_sensitivity"] = estimate_specificity(labels, scores, patients, seed=seed)
    points = {
        name: {
            "sensitivity": metrics[f"sensitivity_{name}"],
            "specificity": metrics[f"false_positive_rate_{name}"].complement(),
            "accuracy": metrics[f"accuracy_{name}"],
        }
        for name in thresholds
    }
    return ranking, points


def _evaluate_classes(
    images: EvaluatedImages, thresholds: dict[str, float] | None, split: str, seed: int
) -> Evaluation | None:
    known = images.with_classes
    if known is None:
        return None
    return evaluate(
        known.labels,
        known.probabilities,
        label_set=images.label_set,
        split=split,
        patients=known.patients,
        names=known.names,
        seed=seed,
        thresholds=thresholds,
        warn=False,
    )


def _measure_subgroup(
    trait: str, name: str, images: EvaluatedImages, thresholds: dict[str, float], seed: int
) -> Subgroup:
    if images.label_set.positive:
        ranking, points = _measure_positive(images, {"point": thresholds}, seed)
        metrics = {**points["point"], "auroc": ranking["auroc"]}
    else:
        classes = _evaluate_classes(images, thresholds, name, seed)
        metrics = {key: value for key, value in (classes.metrics if classes else {}).items() if key in AVERAGES}
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
