"""The same figures by class, file series and exposure, and by age, sex and view where a manifest tells them."""

from collections.abc import Iterator

import numpy as np

from pneumoscope.data.collection import name_series
from pneumoscope.evaluation.scopes import measure_scope, select_images
from pneumoscope.io.results import EvaluatedImages, Subgroup
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.classification import estimate_share

MIN_IMAGES = 10
MAX_SERIES = 8
AGE_BANDS = ((0, 5), (6, 17), (18, 39), (40, 59), (60, 120))


def measure_subgroups(
    images: EvaluatedImages, exposures: np.ndarray, traits: dict[str, np.ndarray], threshold: float, *, seed: int = 0
) -> list[Subgroup]:
    """Return the figures of each subgroup of ten images or more.

    Args:
        images: all that were read.
        exposures: `(n,)` floats, mean gray level.
        traits: `age`, `sex`, `view`, each `(n,)` str, empty where not told.
        threshold: probability from which a case counts as pneumonia.
        seed: of the resampling.
    """
    groups = [*_by_class(images), *_by_series(images), *_by_exposure(exposures), *_by_traits(traits)]
    return [
        _measure(trait, name, select_images(images, rows), threshold, seed)
        for trait, name, rows in groups
        if rows.sum() >= MIN_IMAGES
    ]


def _measure(trait: str, name: str, images: EvaluatedImages, threshold: float, seed: int) -> Subgroup:
    scope = measure_scope(images, {"point": threshold}, split=name, seed=seed)
    figures = {**scope.points["point"], "auroc": scope.ranking["auroc"]}
    figures = {figure: found for figure, found in figures.items() if np.isfinite(found.value)}
    figures["refused"] = estimate_share(images.decisions == "refused", images.patients, seed=seed)
    return Subgroup(trait, name, len(images.names), figures)


Group = tuple[str, str, np.ndarray]


def _by_class(images: EvaluatedImages) -> Iterator[Group]:
    for number, name in enumerate(THREE_CLASSES):
        yield "class", name, images.subtypes == number
    yield "class", "pneumonia, sub-type unknown", (images.labels == 1) & (images.subtypes < 0)


def _by_series(images: EvaluatedImages) -> Iterator[Group]:
    series = name_series(images.names)
    found = sorted(set(series.tolist()) - {""})
    if 1 < len(found) <= MAX_SERIES:
        for name in found:
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
