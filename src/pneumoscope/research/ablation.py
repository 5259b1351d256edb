"""What each part of a recipe is worth: the recipe with one part changed, judged on what was held out inside train."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from pneumoscope.classification.cross_validation import PROTOCOLS, Protocol, cross_validate
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.archive import load_result, save_result
from pneumoscope.io.results import Estimate, Evaluation, MethodTable
from pneumoscope.metrics.classification import estimate_binary_scores
from pneumoscope.metrics.operating_points import estimate_specificity
from pneumoscope.metrics.paired import compare_rankings
from pneumoscope.models.settings import Augmentation, TrainingSettings, configuration_settings

Metrics = dict[str, Estimate]

BASE = "as-it-is"
VARIANTS = {
    BASE: "the recipe as it is",
    "best-augmentation": "pose, exposure and erasing as in `improved`",
    "no-augmentation": "no augmentation",
    "framed": "the outer 20 % hidden at random, in half of the images",
    "mirrored": "half of the images mirrored, left for right",
    "mixup": "pairs of images mixed (mixup 0.2)",
    "hard-targets": "targets not smoothed",
    "unbalanced": "classes drawn as they come",
    "paper-net": "the paper's net of three classes, by the recipe `improved`",
}


def vary_recipe(settings: TrainingSettings, variant: str) -> TrainingSettings:
    """Return a recipe with one part changed.

    Args:
        settings: the recipe.
        variant: one of `VARIANTS`.

    Raises:
        PneumoscopeError: if there is no such variant.
    """
    changes = {
        BASE: settings,
        "best-augmentation": replace(settings, augmentation=configuration_settings("improved").augmentation),
        "no-augmentation": replace(settings, augmentation=Augmentation()),
        "framed": replace(settings, augmentation=replace(settings.augmentation, frame=0.2)),
        "mirrored": replace(settings, augmentation=replace(settings.augmentation, flip=0.5)),
        "mixup": replace(settings, mixup=0.2),
        "hard-targets": replace(settings, label_smoothing=0.0),
        "unbalanced": replace(settings, balanced=False),
        "paper-net": configuration_settings("improved", epochs=settings.epochs),
    }
    if variant not in changes:
        raise PneumoscopeError(f"there is no variant {variant!r}; expected one of {', '.join(changes)}")
    return changes[variant]


def run_ablation(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    settings: TrainingSettings,
    variant: str = BASE,
    protocol: Protocol = "patients",
    seed: int = 0,
) -> Evaluation:
    """Cross-validate a variant of a recipe, or return what an earlier run of the same left; see `cross_validate`."""
    folder = Path(out_dir) / f"{variant}-seed-{seed}"
    kept = folder / f"{protocol}.npz"
    if kept.exists():
        return load_result(kept)
    varied = vary_recipe(settings, variant)
    found = cross_validate(dataset, folder, settings=varied, protocol=protocol, seed=seed)
    save_result(found, kept)
    return found


def load_told(out_dir: str | os.PathLike[str], *, seed: int) -> tuple[Evaluation, Path]:
    """Return what nets of the recipe as it is told of patients that they had not seen, and the folder of these nets.

    Raises:
        PneumoscopeError: if nothing was cross-validated by patients into that folder.
    """
    nets_dir = Path(out_dir) / f"{BASE}-seed-{seed}"
    if not (nets_dir / "patients.npz").exists():
        raise PneumoscopeError(
            f"{nets_dir / 'patients.npz'} is missing; make it with `pneumoscope crossvalidate --seed {seed} "
            f"--out {out_dir}` on the same data"
        )
    return load_result(nets_dir / "patients.npz"), nets_dir


def tabulate_ablations(out_dir: str | os.PathLike[str]) -> MethodTable:
    """Return the metrics of all runs that stand in a folder, by protocol and in the order of `VARIANTS`.

    A row is named `VARIANT, PROTOCOL, seed N`, and holds `auroc` and `specificity` (at 97 % sensitivity) of normal or
    pneumonia, `balanced_accuracy` of three classes and `auroc_bacterial_vs_viral`; and for a variant that was run
    beside the configuration as it is, the `difference` of the AUROC to that with the same seed, and DeLong's `p_value`.
    Two or more seeds of a variant add a row with their mean and one with their standard deviation.
    """
    figures: dict[str, dict[str, Estimate]] = {}
    remarks: dict[str, str] = {}
    for protocol in PROTOCOLS:
        for variant, description in VARIANTS.items():
            name, runs = f"{variant}, {protocol}", {}
            for path in sorted(Path(out_dir).glob(f"{variant}-seed-*/{protocol}.npz")):
                seed = path.parent.name.rpartition("-")[2]
                base = Path(out_dir) / f"{BASE}-seed-{seed}" / path.name
                against = load_result(base) if variant != BASE and base.exists() else None
                runs[f"{name}, seed {seed}"] = _measure_run(load_result(path), against)
            figures |= runs | _summarize_seeds(name, list(runs.values()))
            remarks |= dict.fromkeys(list(runs)[:1], description)
    return MethodTable(figures, remarks)


def _measure_run(run: Evaluation, base: Evaluation | None) -> Metrics:
    labels, scores = (run.labels > 0).astype(np.int64), 1 - run.probabilities[:, 0]
    metrics = {
        "auroc": estimate_binary_scores(labels, scores, run.patients)["auroc"],
        "specificity": estimate_specificity(labels, scores, run.patients),
        "balanced_accuracy": run.metrics["balanced_accuracy"],
        "auroc_bacterial_vs_viral": run.metrics["auroc_bacterial_vs_viral"],
    }
    if base is not None and np.array_equal(base.names, run.names):
        against = compare_rankings(labels, 1 - base.probabilities[:, 0], scores, run.patients)
        metrics |= {"difference": against.difference, "p_value": _without_interval(against.p_value, len(labels))}
    return metrics


def _summarize_seeds(name: str, runs: list[Metrics]) -> dict[str, Metrics]:
    """Return mean and standard deviation over the seeds of what all of them have, where there are two or more."""
    if len(runs) < 2:
        return {}
    shared = [metric for metric in runs[0] if metric != "p_value" and all(metric in run for run in runs)]
    values = {metric: [run[metric].value for run in runs] for metric in shared}
    return {
        f"{name}, {title} {len(runs)} seeds": {
            metric: _without_interval(float(summarize(of)), len(runs)) for metric, of in values.items()
        }
        for title, summarize in (("mean of", np.mean), ("sd over", partial(np.std, ddof=1)))
    }


def _without_interval(value: float, n: int) -> Estimate:
    return Estimate(value, float("nan"), float("nan"), n)
