"""Ablation study: cross-validates a configuration with one setting changed."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pneumoscope.classification.cross_validation import PROTOCOLS, Protocol, cross_validate
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.archive import load_result, save_result
from pneumoscope.io.results import Evaluation, MethodTable, Metrics, summarize_seeds, without_interval
from pneumoscope.metrics.classification import estimate_binary_scores
from pneumoscope.metrics.operating_points import estimate_specificity
from pneumoscope.metrics.paired import compare_rankings
from pneumoscope.models.settings import Augmentation, TrainingSettings, configuration_settings

BASE = "as-it-is"
_Change = Callable[[TrainingSettings], TrainingSettings]
# Variants by name: description, and change of the settings.
VARIANTS: dict[str, tuple[str, _Change]] = {
    BASE: ("unchanged configuration", lambda settings: settings),
    "improved-augmentation": (
        "augmentation of pose, exposure and erasing as in `improved`",
        lambda settings: replace(settings, augmentation=configuration_settings("improved").augmentation),
    ),
    "no-augmentation": ("no augmentation", lambda settings: replace(settings, augmentation=Augmentation())),
    "framed": (
        "random masking of the outer 20 %, in half of the images",
        lambda settings: replace(settings, augmentation=replace(settings.augmentation, frame=0.2)),
    ),
    "mirrored": (
        "horizontal flip of half of the images",
        lambda settings: replace(settings, augmentation=replace(settings.augmentation, flip=0.5)),
    ),
    "mixup": ("mixup, alpha 0.2", lambda settings: replace(settings, mixup=0.2)),
    "hard-targets": ("no label smoothing", lambda settings: replace(settings, label_smoothing=0.0)),
    "unbalanced": ("no class-balanced sampling", lambda settings: replace(settings, balanced=False)),
    "reference-network": (
        "architecture of the reference study, settings of `improved`",
        lambda settings: configuration_settings("improved", epochs=settings.epochs),
    ),
}


def vary_settings(settings: TrainingSettings, variant: str) -> TrainingSettings:
    """Return the settings changed by a variant.

    Raises:
        PneumoscopeError: if the variant does not exist.
    """
    if variant not in VARIANTS:
        raise PneumoscopeError(f"there is no variant {variant!r}; expected one of {', '.join(VARIANTS)}")
    return VARIANTS[variant][1](settings)


def run_ablation(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    settings: TrainingSettings,
    variant: str = BASE,
    protocol: Protocol = "patients",
    seed: int = 0,
) -> Evaluation:
    """Cross-validate a variant of a configuration, or load an existing result.

    Args:
        dataset: with splits; test images are excluded.
        out_dir: folder for one run per variant, protocol and seed.
        settings: configuration to vary.
        variant: one of `VARIANTS`.
        protocol: see `cross_validate`.
        seed: of the folds and the models.
    """
    folder = _run_dir(out_dir, variant, seed)
    path = folder / f"{protocol}.npz"
    if not path.exists():
        varied = vary_settings(settings, variant)
        save_result(cross_validate(dataset, folder, settings=varied, protocol=protocol, seed=seed), path)
    return _load_evaluation(path)


def load_crossvalidation(out_dir: str | os.PathLike[str], *, seed: int) -> tuple[Evaluation, Path]:
    """Return the predictions of the unchanged configuration, cross-validated by patients, and the folder of its models.

    Raises:
        PneumoscopeError: if the folder contains no such cross-validation.
    """
    models_dir = _run_dir(out_dir, BASE, seed)
    path = models_dir / "patients.npz"
    if not path.exists():
        raise PneumoscopeError(
            f"{path} is missing; run `pneumoscope crossvalidate --seed {seed} --out {out_dir}` on the same data"
        )
    return _load_evaluation(path), models_dir


def tabulate_ablations(out_dir: str | os.PathLike[str]) -> MethodTable:
    """Return the metrics of all runs in a folder, by protocol and in the order of `VARIANTS`.

    A row is named `VARIANT, PROTOCOL, seed N`. Columns are `auroc` and `specificity` (at 97 % sensitivity) of the
    positive class, if there is a negative one, `balanced_accuracy`, and the AUROC inside groups of two classes. If the
    unchanged configuration was run with the same seed, `difference` is the AUROC difference to it and `p_value` that of
    DeLong's test. Variants with two or more seeds get a row with the mean and a row with the standard deviation.
    """
    metrics: dict[str, Metrics] = {}
    remarks: dict[str, str] = {}
    for protocol in PROTOCOLS:
        for variant, (description, _) in VARIANTS.items():
            name, runs = f"{variant}, {protocol}", {}
            for path in sorted(Path(out_dir).glob(f"{variant}-seed-*/{protocol}.npz")):
                seed = path.parent.name.rpartition("-")[2]
                base = _run_dir(out_dir, BASE, seed) / path.name
                reference = _load_evaluation(base) if variant != BASE and base.exists() else None
                runs[f"{name}, seed {seed}"] = _measure_run(_load_evaluation(path), reference)
            metrics |= runs
            comparable = [{key: value for key, value in run.items() if key != "p_value"} for run in runs.values()]
            for statistic, values in summarize_seeds(comparable).items():
                title = {"mean": "mean of", "sd": "sd over"}[statistic]
                metrics[f"{name}, {title} {len(runs)} seeds"] = values
            remarks |= dict.fromkeys(list(runs)[:1], description)
    return MethodTable(metrics, remarks)


def _run_dir(out_dir: str | os.PathLike[str], variant: str, seed: int | str) -> Path:
    return Path(out_dir) / f"{variant}-seed-{seed}"


def _load_evaluation(path: Path) -> Evaluation:
    evaluation: Evaluation = load_result(path)
    return evaluation


def _measure_run(run: Evaluation, reference: Evaluation | None) -> Metrics:
    kept = {name: run.metrics[name] for name in run.metrics if name == "balanced_accuracy" or "_vs_" in name}
    if run.label_set.positive is None:
        return {"auroc": run.metrics["auroc"], **kept}
    labels = np.asarray(run.labels != run.classes.index(run.label_set.negative or ""), dtype=np.int64)
    scores = run.label_set.score_positive(run.probabilities)
    metrics = {
        "auroc": estimate_binary_scores(labels, scores, run.patients)["auroc"],
        "specificity": estimate_specificity(labels, scores, run.patients),
        **kept,
    }
    if reference is not None and np.array_equal(reference.names, run.names):
        comparison = compare_rankings(
            labels, run.label_set.score_positive(reference.probabilities), scores, run.patients
        )
        p_value = without_interval(comparison.p_value, len(labels))
        metrics |= {"difference": comparison.difference, "p_value": p_value}
    return metrics
