"""Benchmark of explanation methods on one classifier and the same images.

Metrics of a method, each a mean over `n` images with its 95 % interval; slow methods use a quarter of the images:

peak_in_lesion, lesion_area     pointing-game accuracy, and its chance level
heat_in_lesion                  share of the heat in the lesion
heat_in_lungs, lungs_area       share of the heat in the lungs, and share of the image covered by lungs
road                            faithfulness, see `measure_road`
repeatability                   rank correlation with the heatmap of the image shifted by 3 pixels
other_seed                      rank correlation with the heatmap of a model with another seed
survives_last, survives_all     parameter randomization: rank correlation after randomizing the last or all layers
seconds                         time per heatmap
"""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from pneumoscope.data.dataset import Dataset
from pneumoscope.explain import quality
from pneumoscope.explain.cases import Cases, choose_lesions, choose_test_images
from pneumoscope.explain.centrality import estimate_peak_in_lesion
from pneumoscope.explain.faithfulness import measure_road
from pneumoscope.explain.methods import METHODS, SLOW_METHODS, explain
from pneumoscope.explain.scorer import Scorer
from pneumoscope.explain.verdict import write_verdict
from pneumoscope.io.results import MethodTable, Metrics, without_interval
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.intervals import estimate_mean
from pneumoscope.models.prediction import predict_probabilities
from pneumoscope.models.receptive_field import scale_to_peak
from pneumoscope.phantoms.lungs import find_lungs
from pneumoscope.progress import log

if TYPE_CHECKING:
    import keras

CONTROL = "edges"
_SLOW_SHARE = 4


def benchmark_explanations(
    scorer: Scorer,
    dataset: Dataset,
    *,
    label_set: LabelSet,
    other: "keras.Model | None" = None,
    methods: tuple[str, ...] = tuple(METHODS),
    num_images: int = 36,
    seed: int = 0,
) -> MethodTable:
    """Evaluate explanation methods and the baseline `edges`, the gradient magnitude of the image.

    Args:
        scorer: of the classifier and the layer of the class-activation maps.
        dataset: with a split `test`, and with masks or with normals to paste opacities on.
        label_set: the classes of the model.
        other: model of the same configuration with another seed, if available.
        methods: names from `METHODS`.
        num_images: number of images for localization; a third for other metrics, a quarter of either for slow methods.
        seed: random seed.

    Raises:
        ValueError: if there is no labeled test image.
    """
    lesions, cases = (
        choose(scorer.model, dataset, label_set=label_set, num_images=num_images, seed=seed)
        for choose in (choose_lesions, choose_test_images)
    )
    log.info("%d images with lesion masks and %d test images; layer %s", len(lesions), len(cases), scorer.layer)
    metrics: dict[str, Metrics] = {}
    heatmaps: dict[str, np.ndarray] = {}
    for method in (*methods, CONTROL):
        log.info("evaluating %s", method)
        some = slice(-(-num_images // (_SLOW_SHARE if method in SLOW_METHODS else 1)))
        part = lesions.select(some), cases.select(some)
        heatmaps[method], metrics[method] = _measure_method(scorer, method, *part, label_set, seed)
    changed = {} if other is None else {"other_seed": _measure_similarity(other, scorer.layer, cases, heatmaps, seed)}
    stages = quality.randomize_cascading(scorer.model, num_stages=2, seed=seed)
    for name, (_, randomized) in zip(("survives_last", "survives_all"), stages, strict=True):
        changed[name] = _measure_similarity(randomized, scorer.layer, cases, heatmaps, seed)
    for method, values in metrics.items():
        values |= {name: similarity[method] for name, similarity in changed.items()}
    return MethodTable(metrics, {method: write_verdict(values) for method, values in metrics.items()})


def compute_edges(images: np.ndarray) -> np.ndarray:
    """Return `(n, H, W)` float32 in [0, 1], the gradient magnitude of each image."""
    pixels = images.astype(np.float32)
    orders = ((0, 1, 0), (0, 0, 1))
    return scale_to_peak(np.hypot(*(gaussian_filter(pixels, (0, 1, 1), order, mode="nearest") for order in orders)))


def _explain(scorer: Scorer, cases: Cases, method: str, seed: int) -> np.ndarray:
    if method == CONTROL:
        return compute_edges(cases.images)
    return explain(scorer, cases.images, method=method, class_indices=cases.class_indices, seed=seed)


def _measure_method(
    scorer: Scorer, method: str, lesions: Cases, cases: Cases, label_set: LabelSet, seed: int
) -> tuple[np.ndarray, Metrics]:
    """Return the heatmaps of the cases, and all metrics that require only this model."""
    metrics: Metrics = {}
    if len(lesions):
        on_lesions = _explain(scorer, lesions, method, seed)
        metrics |= estimate_peak_in_lesion(on_lesions, lesions.masks, lesions.patients, seed=seed)
        inside = quality.measure_share_inside(on_lesions, lesions.masks)
        metrics |= _estimate({"heat_in_lesion": inside}, lesions, seed)
    started = time.perf_counter()
    heatmaps = _explain(scorer, cases, method, seed)
    seconds = (time.perf_counter() - started) / len(heatmaps)
    metrics |= _measure_maps(scorer, heatmaps, cases, method, label_set, seed)
    return heatmaps, {**metrics, "seconds": without_interval(seconds, len(heatmaps))}


def _estimate(values: dict[str, np.ndarray], cases: Cases, seed: int) -> Metrics:
    """Return the mean of each of `values` without NaN; values belong to the first images of `cases`."""
    metrics = {}
    for name, numbers in values.items():
        defined = ~np.isnan(numbers)
        metrics[name] = without_interval(float("nan"), 0)
        if defined.any():
            metrics[name] = estimate_mean(numbers[defined], cases.patients[: len(numbers)][defined], seed=seed)
    return metrics


def _measure_maps(
    scorer: Scorer, heatmaps: np.ndarray, cases: Cases, method: str, label_set: LabelSet, seed: int
) -> Metrics:
    lungs = find_lungs(cases.images)
    few = cases.select(slice(-(-len(cases) // 3)))
    shifted = replace(few, images=quality.shift_images(few.images))
    maps_of_shifted = _explain(scorer, shifted, method, seed)
    values = {
        "heat_in_lungs": quality.measure_share_inside(heatmaps, lungs),
        "lungs_area": lungs.mean(axis=(1, 2)),
        "road": _measure_road(scorer, heatmaps[: len(few)], few, label_set, seed),
        "repeatability": quality.measure_repeatability(heatmaps[: len(few)], maps_of_shifted),
    }
    return _estimate(values, cases, seed)


def _measure_road(scorer: Scorer, heatmaps: np.ndarray, cases: Cases, label_set: LabelSet, seed: int) -> np.ndarray:
    rng, values = np.random.default_rng(seed), []
    for image, heatmap, index in zip(cases.images, heatmaps, cases.class_indices, strict=True):

        def predict(images: np.ndarray, index: int = index) -> np.ndarray:
            return predict_probabilities(scorer.model, images, label_set)[:, index]

        values.append(measure_road(predict, image, heatmap, rng))
    return np.array(values)


def _measure_similarity(
    changed: "keras.Model", layer: str, cases: Cases, heatmaps: dict[str, np.ndarray], seed: int
) -> Metrics:
    """Return for each method the rank correlation of its heatmaps with those of another model."""
    scorer, values = Scorer(changed, layer), {}
    for method, maps in heatmaps.items():
        few = cases.select(slice(-(-len(maps) // 3)))
        values[method] = quality.correlate_ranks(maps[: len(few)], _explain(scorer, few, method, seed))
    return _estimate(values, cases, seed)
