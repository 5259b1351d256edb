"""All detectors on one set, by one protocol, side by side."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pneumoscope.archive import load_result, save_result
from pneumoscope.comparison import DetectorComparison, MethodTable
from pneumoscope.errors import TrainingError
from pneumoscope.progress import log
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import Detection, Estimate
from pneumoscope.tasks.anomaly.ensemble import choose_members, join_ranks
from pneumoscope.tasks.anomaly.registry import METHODS, Means
from pneumoscope.tasks.anomaly.evaluation import choose_threshold, judge_detector, judge_scores, select_normals
from pneumoscope.tasks.classify import hash_table

ENSEMBLE = "ensemble"


def benchmark_anomaly(
    dataset: Dataset,
    means: Means,
    *,
    methods: Sequence[str] | None = None,
    num_seeds: int = 1,
    false_alarm_rate: float = 0.05,
) -> DetectorComparison:
    """Fit every detector to train normals and measure it on test; see `pneumoscope.tasks.anomaly.evaluation`.

    What each method came to is kept in `means.out_dir`, so that a run that was stopped goes on at the method where it
    was. A method whose means are not given is left out; one that fails says so in its remark, without figures.

    Args:
        dataset: with the splits `train`, `val` and `test`.
        means: checkpoints, epochs, weights, the flagship and the seed.
        methods: names of `METHODS`; all that can be made by default.
        num_seeds: how often each is fitted, with seeds from `means.seed` on; the first is the one judged, the others
            give `auroc_mean` and `auroc_sd`.
        false_alarm_rate: share of normals that may be flagged, in (0, 1).

    Raises:
        TrainingError: if a method is not known, its means are not given, or normals are missing.
    """
    select_normals(dataset)
    found: dict[str, Detection] = {}
    figures: dict[str, dict[str, Estimate]] = {}
    remarks: dict[str, str] = {}
    for name in _choose_methods(methods, means):
        try:
            runs = [
                _run_method(name, dataset, replace(means, seed=seed), false_alarm_rate, means.seed)
                for seed in range(means.seed, means.seed + num_seeds)
            ]
        except TrainingError as error:
            log.warning("%s failed: %s", name, error)
            figures[name], remarks[name] = {}, f"Failed: {error}"
            continue
        found[name], remarks[name] = runs[0], METHODS[name].remark
        figures[name] = {**runs[0].metrics, **_spread_over_seeds(runs)}
    pure = {name: detection for name, detection in found.items() if METHODS[name].needs != "flagship"}
    members = choose_members(pure)
    if len(members) > 1:
        found[ENSEMBLE] = join_detections([pure[name] for name in members], dataset, seed=means.seed)
        figures[ENSEMBLE] = found[ENSEMBLE].metrics
        remarks[ENSEMBLE] = f"The mean rank of {', '.join(members)}, chosen by drawn opacities on held-out normals."
    return DetectorComparison(MethodTable(figures, remarks), found)


def join_detections(members: Sequence[Detection], dataset: Dataset, *, seed: int = 0) -> Detection:
    """Return several detectors as one, judged by the same protocol.

    Args:
        members: of the same dataset, seed and false-alarm rate.
        dataset: that they were judged on.
        seed: of the resampling.
    """
    held_out = [member.held_out for member in members]
    own, drawn, scores = (
        join_ranks(held_out, [getattr(member, part) for member in members]) for part in ("held_out", "drawn", "scores")
    )
    threshold = choose_threshold(own, members[0].false_alarm_rate)
    costs = {
        name: replace(members[0].metrics[name], value=sum(member.metrics[name].value for member in members))
        for name in ("seconds_per_image", "megabytes")
    }
    maps = [(member.maps - member.map_scale[0]) / max(float(np.ptp(member.map_scale)), 1e-12) for member in members]
    return replace(
        members[0],
        method=ENSEMBLE,
        recipe=json.dumps([member.recipe for member in members]),
        threshold=threshold,
        held_out=own,
        drawn=drawn,
        scores=scores,
        metrics={
            **judge_scores(dataset.split("test"), scores, threshold, seed=seed),
            "false_alarms_promised": members[0].metrics["false_alarms_promised"],
            **costs,
        },
        maps=np.mean(maps, axis=0).astype(np.float32),
        map_scale=np.array([0, 1], np.float32),
    )


def _choose_methods(methods: Sequence[str] | None, means: Means) -> list[str]:
    names = list(METHODS) if methods is None else list(methods)
    if strangers := [name for name in names if name not in METHODS]:
        raise TrainingError(f"there is no method {', '.join(strangers)}; expected some of {', '.join(METHODS)}")
    missing = [name for name in names if METHODS[name].needs and getattr(means, METHODS[name].needs) is None]
    if missing and methods is not None:
        needs = ", ".join(sorted({METHODS[name].needs for name in missing}))
        raise TrainingError(f"{', '.join(missing)} cannot be made without {needs}; name the file or folder")
    if missing:
        log.info("left out, since their weights were not named: %s", ", ".join(missing))
    return [name for name in names if name not in missing]


def _run_method(name: str, dataset: Dataset, means: Means, false_alarm_rate: float, judging_seed: int) -> Detection:
    """Fit and judge one method, or return what came of it before."""
    facts = {
        "method": name,
        "data": hash_table(dataset),
        "seed": means.seed,
        "epochs": means.epochs,
        "false_alarm_rate": false_alarm_rate,
        "judging_seed": judging_seed,
    }
    recipe = json.dumps(facts)
    folder = means.out_dir / f"seed-{means.seed}"
    path = folder / f"{name}.result.npz"
    if path.exists():
        known = load_result(path)
        if known.recipe != recipe:
            raise TrainingError(
                f"{path} comes from other settings or data; expected those of this run. Give another output folder, or "
                "delete it to fit anew."
            )
        log.info("%s: done before", name)
        return known
    log.info("%s: fitting", name)
    detector = METHODS[name].fit(select_normals(dataset), replace(means, out_dir=folder))
    found = judge_detector(
        detector, dataset, method=name, recipe=recipe, false_alarm_rate=false_alarm_rate, seed=judging_seed
    )
    save_result(found, path)
    return found


def _spread_over_seeds(runs: Sequence[Detection]) -> dict[str, Estimate]:
    """Return mean and deviation of the AUROC over seeds, where there is more than one."""
    if len(runs) < 2:
        return {}
    values = [run.metrics["auroc"].value for run in runs]
    nothing = float("nan")
    return {
        "auroc_mean": Estimate(float(np.mean(values)), nothing, nothing, n=len(values)),
        "auroc_sd": Estimate(float(np.std(values, ddof=1)), nothing, nothing, n=len(values)),
    }
