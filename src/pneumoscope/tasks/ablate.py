"""What each part of a recipe is worth: the recipe with one part changed, judged on what was held out inside train."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pneumoscope.archive import load_result, save_result
from pneumoscope.assessment import PairedComparison
from pneumoscope.errors import PneumoscopeError
from pneumoscope.evaluation.metrics import estimate_binary_scores
from pneumoscope.evaluation.operating_points import estimate_specificity
from pneumoscope.evaluation.paired import compare_rankings
from pneumoscope.models.settings import Augmentation, TrainingSettings, profile_settings
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import Estimate, Evaluation
from pneumoscope.tasks.crossvalidate import PROTOCOLS, Protocol, cross_validate

BASE = "as-it-is"
VARIANTS = {
    BASE: "the recipe as it is",
    "best-augmentation": "pose, exposure and erasing as in `best`",
    "no-augmentation": "no augmentation",
    "framed": "the outer 20 % hidden at random, in half of the images",
    "mirrored": "half of the images mirrored, left for right",
    "mixup": "pairs of images mixed (mixup 0.2)",
    "hard-targets": "targets not smoothed",
    "unbalanced": "classes drawn as they come",
    "paper-net": "the paper's net of three classes, by the recipe `best`",
}


@dataclass(frozen=True)
class Ablation:
    """How one variant of a recipe did.

    Attributes:
        variant: one of `VARIANTS`.
        protocol: what was held out at a time.
        seed: of the parts and the nets.
        num_images: held out in all.
        figures: by name, `auroc` and `specificity` (at 97 % sensitivity) of normal or pneumonia,
            `balanced_accuracy` of three classes and `auroc_bacterial_vs_viral`.
        against_base: the AUROC of normal or pneumonia compared with that of the base by the same protocol and seed;
            None for the base itself and where it was not run.
    """

    variant: str
    protocol: str
    seed: int
    num_images: int
    figures: dict[str, Estimate]
    against_base: PairedComparison | None


@dataclass(frozen=True)
class SeedSpread:
    """How one variant of a recipe did over several seeds.

    Attributes:
        variant, protocol: see `Ablation`.
        seeds: two or more.
        figures: as of an `Ablation`, and `difference`, of the AUROC to that of the base with the same seed, where all
            seeds have one; mean and standard deviation over the seeds.
    """

    variant: str
    protocol: str
    seeds: tuple[int, ...]
    figures: dict[str, tuple[float, float]]


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
        "best-augmentation": replace(settings, augmentation=profile_settings("best").augmentation),
        "no-augmentation": replace(settings, augmentation=Augmentation()),
        "framed": replace(settings, augmentation=replace(settings.augmentation, frame=0.2)),
        "mirrored": replace(settings, augmentation=replace(settings.augmentation, flip=0.5)),
        "mixup": replace(settings, mixup=0.2),
        "hard-targets": replace(settings, label_smoothing=0.0),
        "unbalanced": replace(settings, balanced=False),
        "paper-net": profile_settings("best", epochs=settings.epochs),
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


def list_ablations(out_dir: str | os.PathLike[str]) -> list[Ablation]:
    """Return how all variants did that were run into a folder, by protocol and in the order of `VARIANTS`."""
    found = []
    for protocol in PROTOCOLS:
        for variant in VARIANTS:
            for path in sorted(Path(out_dir).glob(f"{variant}-seed-*/{protocol}.npz")):
                seed = int(path.parent.name.rpartition("-")[2])
                base = Path(out_dir) / f"{BASE}-seed-{seed}" / path.name
                against = load_result(base) if variant != BASE and base.exists() else None
                found.append(_judge(load_result(path), against, variant, protocol, seed))
    return found


def spread_seeds(found: Sequence[Ablation]) -> list[SeedSpread]:
    """Return mean and standard deviation of each variant that was run by one protocol with more than one seed."""
    spreads = []
    for protocol, variant in dict.fromkeys((entry.protocol, entry.variant) for entry in found):
        runs = [entry for entry in found if (entry.protocol, entry.variant) == (protocol, variant)]
        if len(runs) < 2:
            continue
        values = {name: [run.figures[name].value for run in runs] for name in runs[0].figures}
        differences = [run.against_base.difference.value for run in runs if run.against_base]
        if len(differences) == len(runs):
            values["difference"] = differences
        figures = {name: (float(np.mean(of)), float(np.std(of, ddof=1))) for name, of in values.items()}
        spreads.append(SeedSpread(variant, protocol, tuple(run.seed for run in runs), figures))
    return spreads


def _judge(told: Evaluation, base: Evaluation | None, variant: str, protocol: str, seed: int) -> Ablation:
    sick, scores = (told.labels > 0).astype(np.int64), 1 - told.probabilities[:, 0]
    figures = {
        "auroc": estimate_binary_scores(sick, scores, told.patients)["auroc"],
        "specificity": estimate_specificity(sick, scores, told.patients),
        "balanced_accuracy": told.metrics["balanced_accuracy"],
        "auroc_bacterial_vs_viral": told.metrics["auroc_bacterial_vs_viral"],
    }
    against = None
    if base is not None and np.array_equal(base.names, told.names):
        against = compare_rankings(sick, 1 - base.probabilities[:, 0], scores, told.patients)
    return Ablation(variant, protocol, seed, len(sick), figures, against)
