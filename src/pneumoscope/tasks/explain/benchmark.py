"""Methods of explanation side by side, on one net and the same images.

Figures of a method, each a mean over images with its 95 % interval (`n` tells how many: methods that need hundreds of
looks at an image get a quarter of them):

peak_in_lesion, lesion_area     pointing game on lesions whose place is known, and its chance
heat_in_lesion, lesion_overlap  share of the heat on them; overlap of the hottest part that is as large
heat_in_lungs, lungs_area       share of the heat in the lungs, and the lungs' share of the image
insertion, deletion             area under the class's probability, hottest pixels first
road, sensitivity_n             see `faithfulness`
repeatability                   rank correlation with the map of the film shifted by 3 pixels
other_seed                      rank correlation with the map of a net of the same recipe and another seed, for the
                                same class, where there is one
survives_last, survives_all     rank correlation with the map once the last layer, or all, are shuffled
seconds                         for one map
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from pneumoscope.comparison import ExplanationBenchmark, MethodTable
from pneumoscope.evaluation.intervals import estimate_mean
from pneumoscope.progress import log
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.radiographs.lungs import find_lungs
from pneumoscope.results import Estimate
from pneumoscope.tasks.classify import predict_probabilities
from pneumoscope.tasks.explain import faithfulness, quality
from pneumoscope.tasks.explain.cases import Cases, choose_films, choose_lesions
from pneumoscope.tasks.explain.centrality import estimate_centrality
from pneumoscope.tasks.explain.methods import METHODS, SLOW_METHODS, explain_with
from pneumoscope.tasks.explain.probes import probe_concepts
from pneumoscope.tasks.explain.randomization import randomize_cascading
from pneumoscope.tasks.explain.scorer import Scorer
from pneumoscope.tasks.explain.verdict import write_verdict

if TYPE_CHECKING:
    import keras

CONTROL = "edges"
NUM_CLAIM = 300
SHIFT = 3
_SLOW_SHARE = 4

Figures = dict[str, Estimate]


def benchmark_explanations(
    model: "keras.Model",
    dataset: Dataset,
    *,
    other: "keras.Model | None" = None,
    layer: str | None = None,
    methods: tuple[str, ...] = tuple(METHODS),
    num_images: int = 36,
    seed: int = 0,
) -> ExplanationBenchmark:
    """Measure methods of explanation.

    One more row, `edges`, is of the film's own edges: a map that knows no net, to hold the others against.

    Args:
        model: a classifier whose class 0 is normal, see `explain`.
        dataset: with a split `test`; with true masks or else with normals to paste opacities on.
        other: a net of the same recipe and another seed, if there is one.
        layer: see `explain`.
        methods: some of `METHODS`.
        num_images: how many images localization is measured on; a third of them for what costs dozens of looks at
            each image, and a quarter of either for slow methods.
        seed: of every choice.

    Raises:
        ValueError: if there is no labelled test image, or see `explain`.
    """
    scorer = Scorer(model, layer)
    lesions = choose_lesions(model, dataset, num_images=num_images, seed=seed)
    films = choose_films(model, dataset, num_images=num_images, seed=seed)
    log.info("%d known lesions and %d films; maps of %s", len(lesions), len(films), scorer.layer)
    lungs = find_lungs(films.images)
    figures: dict[str, Figures] = {}
    drawn = {}
    for method in (*methods, CONTROL):
        log.info("measuring %s", method)
        share = _SLOW_SHARE if method in SLOW_METHODS else 1
        some, seen = lesions.select(slice(-(-num_images // share))), films.select(slice(-(-num_images // share)))
        on_lesions = _explain(scorer, some, method, seed)
        started = time.perf_counter()
        drawn[method] = _explain(scorer, seen, method, seed)
        seconds = (time.perf_counter() - started) / len(seen)
        figures[method] = {
            **_measure_place(on_lesions, some, seed),
            "heat_in_lungs": _mean(quality.measure_share_inside(drawn[method], lungs[: len(seen)]), seen, seed),
            "lungs_area": _mean(lungs[: len(seen)].mean(axis=(1, 2)), seen, seed),
            **_measure_faithfulness(model, drawn[method], seen, seed),
            "repeatability": _measure_repeatability(scorer, drawn[method], seen, method, seed),
            "seconds": Estimate(seconds, float("nan"), float("nan"), n=len(seen)),
        }
    for name, net in _list_others(model, other, seed):
        for method, alike in _measure_likeness(net, scorer.layer, films, drawn, seed).items():
            figures[method][name] = alike
    claim = choose_films(model, dataset, num_images=NUM_CLAIM, seed=seed)
    heatmaps = explain_with(scorer, claim.images, method="hirescam", class_indices=claim.class_indices)
    verdicts = {method: write_verdict(found) for method, found in figures.items()}
    return ExplanationBenchmark(
        table=MethodTable(figures, verdicts),
        layer=scorer.layer,
        claim=estimate_centrality(heatmaps, claim.labels, claim.patients, seed=seed),
        probes=probe_concepts(model, films.images, films.patients, seed=seed),
    )


def _list_others(model: "keras.Model", other: "keras.Model | None", seed: int) -> "Iterator[tuple[str, keras.Model]]":
    """Yield the nets whose maps are compared with the model's; the shuffled one goes on changing between them."""
    if other is not None:
        yield "other_seed", other
    stages = randomize_cascading(model, num_stages=2, seed=seed)
    for name, (_, net) in zip(("survives_last", "survives_all"), stages, strict=True):
        yield name, net


def draw_edges(images: np.ndarray) -> np.ndarray:
    """Return `(n, H, W)` float32 in [0, 1], how steep each film is: a map that knows nothing of any net."""
    films = images.astype(np.float32)
    steep = np.hypot(*(gaussian_filter(films, (0, 1, 1), order, mode="nearest") for order in ((0, 1, 0), (0, 0, 1))))
    largest = steep.max(axis=(1, 2), keepdims=True)
    return np.divide(steep, largest, out=np.zeros_like(steep), where=largest > 0)


def _explain(scorer: Scorer, cases: Cases, method: str, seed: int) -> np.ndarray:
    if method == CONTROL:
        return draw_edges(cases.images)
    return explain_with(scorer, cases.images, method=method, class_indices=cases.class_indices, seed=seed)


def _mean(values: np.ndarray, cases: Cases, seed: int) -> Estimate:
    """Return the mean of the values that are defined."""
    known = ~np.isnan(values)
    if not known.any():
        return Estimate(float("nan"), float("nan"), float("nan"), n=0)
    return estimate_mean(values[known], cases.patients[: len(values)][known], seed=seed)


def _measure_place(heatmaps: np.ndarray, cases: Cases, seed: int) -> Figures:
    if not len(cases):
        return {}
    values = {
        "peak_in_lesion": quality.hit_lesion(heatmaps, cases.masks),
        "lesion_area": quality.widen_masks(cases.masks).mean(axis=(1, 2)),
        "heat_in_lesion": quality.measure_share_inside(heatmaps, cases.masks),
        "lesion_overlap": quality.measure_overlap(heatmaps, cases.masks),
    }
    return {name: _mean(found, cases, seed) for name, found in values.items()}


def _measure_faithfulness(model: "keras.Model", heatmaps: np.ndarray, cases: Cases, seed: int) -> Figures:
    rng = np.random.default_rng(seed)
    count = -(-len(cases) // 3)
    values: dict[str, list[float]] = {name: [] for name in ("insertion", "deletion", "road", "sensitivity_n")}
    for image, heatmap, index in zip(cases.images[:count], heatmaps, cases.class_indices, strict=False):

        def answer(images: np.ndarray, index: int = index) -> np.ndarray:
            return predict_probabilities(model, images)[:, index]

        values["insertion"].append(faithfulness.trace_deletion(answer, image, heatmap, insert=True))
        values["deletion"].append(faithfulness.trace_deletion(answer, image, heatmap))
        values["road"].append(faithfulness.measure_road(answer, image, heatmap, rng))
        values["sensitivity_n"].append(faithfulness.measure_sensitivity(answer, image, heatmap, rng))
    return {name: _mean(np.array(found), cases, seed) for name, found in values.items()}


def _measure_repeatability(scorer: Scorer, heatmaps: np.ndarray, cases: Cases, method: str, seed: int) -> Estimate:
    few = cases.select(slice(-(-len(cases) // 3)))
    images = quality.shift_images(few.images, SHIFT, SHIFT)
    shifted = Cases(images, few.masks, few.class_indices, few.labels, few.patients)
    again = _explain(scorer, shifted, method, seed)
    found = quality.measure_repeatability(heatmaps[: len(few)], again, rows=SHIFT, columns=SHIFT)
    return _mean(found, few, seed)


def _measure_likeness(
    net: "keras.Model", layer: str, films: Cases, drawn: dict[str, np.ndarray], seed: int
) -> dict[str, Estimate]:
    """Return by method how alike its maps of another net are to those that were drawn."""
    found, scorer = {}, Scorer(net, layer)
    for method, heatmaps in drawn.items():
        few = films.select(slice(-(-len(heatmaps) // 3)))
        again = _explain(scorer, few, method, seed)
        found[method] = _mean(quality.correlate_ranks(heatmaps[: len(few)], again), few, seed)
    return found
