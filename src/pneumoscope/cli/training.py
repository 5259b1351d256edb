"""`train` and `crossvalidate`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pneumoscope.cli.options import (
    ClassifierTask,
    Configuration,
    ConfigurationOption,
    DataOption,
    EpochsOption,
    HoldOutOption,
    OutOption,
    SeedOption,
)
from pneumoscope.cli.output import print_metrics
from pneumoscope.errors import PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset
    from pneumoscope.models.settings import TrainingSettings

COMMANDS = typer.Typer()


@COMMANDS.command(epilog="Example: pneumoscope train --data chest_xray --configuration default --out model")
def train(
    data: DataOption = None,
    out: OutOption = Path("model"),
    task: Annotated[
        Literal[ClassifierTask, "anomaly"] | None,
        typer.Option("--task", help="Task; binary by default, three_class with --backbone or --configuration default."),
    ] = None,
    configuration: Annotated[
        Literal[Configuration, "transfer"] | None,
        typer.Option("--configuration", help="Configuration; improved by default, transfer with --backbone."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Architecture of keras.applications, such as mobilenet.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="FILE|imagenet|none",
            help="Weights of the backbone: a file without top, ImageNet weights (download), or random weights.",
        ),
    ] = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Train one model and print its metrics; the same command resumes a stopped training."""
    from pneumoscope.anomaly.autoencoder import train_anomaly
    from pneumoscope.anomaly.normality_model import train_normality_model
    from pneumoscope.classification.classifier import train_classifier
    from pneumoscope.labels import TASK_CLASSES
    from pneumoscope.models.settings import configuration_settings
    from pneumoscope.study.pipeline import anomaly_settings

    configuration = configuration or ("transfer" if backbone else "improved")
    task = task or ("three_class" if backbone or configuration == "default" else "binary")
    _check_backbone(backbone, weights, configuration, task)
    choose_settings = anomaly_settings if task == "anomaly" else configuration_settings
    settings = choose_settings(configuration, epochs=_choose_epochs(data, epochs))
    if backbone:
        settings = replace(settings, backbone=backbone, weights=None if weights == "none" else weights)
    dataset = _load_split(data, out, settings, seed)
    if task == "anomaly":
        train_model = train_normality_model if settings.configuration == "normality" else train_anomaly
        print_metrics(train_model(dataset, out, settings=settings, seed=seed)[1].metrics, "test")
        return
    _, result = train_classifier(dataset, out, classes=TASK_CLASSES[task], settings=settings, seed=seed)
    for split, evaluation in result.evaluations.items():
        print_metrics(evaluation.metrics, split)


def _check_backbone(backbone: str | None, weights: str | None, configuration: str, task: str) -> None:
    from pneumoscope.models.architectures.pretrained import BACKBONES

    if backbone is not None and backbone not in BACKBONES:
        raise PneumoscopeError(f"--backbone is {backbone!r}; expected one of {', '.join(BACKBONES)}")
    if (backbone is None) != (weights is None) or (configuration == "transfer" and not backbone):
        raise PneumoscopeError(
            "--backbone and --weights belong together, and the configuration transfer needs both; expected "
            "--backbone NAME and --weights FILE, imagenet or none"
        )
    if backbone and task == "anomaly":
        raise PneumoscopeError("--task anomaly has its own architecture; expected no --backbone")


def _choose_epochs(data: Path | None, epochs: int | None) -> int | None:
    from pneumoscope.study.pipeline import PHANTOM_EPOCHS

    return epochs or (PHANTOM_EPOCHS if data is None else None)


def _load_split(data: Path | None, out: Path, settings: "TrainingSettings", seed: int) -> "Dataset":
    from pneumoscope.data.splits import split_dataset
    from pneumoscope.study.pipeline import load_study_dataset

    return split_dataset(load_study_dataset(data, out, seed=seed, size=settings.size), seed=seed)


@COMMANDS.command(epilog="Example: pneumoscope crossvalidate --data chest_xray --hold-out series --epochs 6")
def crossvalidate(
    data: DataOption = None,
    out: OutOption = Path("crossvalidation"),
    configuration: ConfigurationOption = "default",
    hold_out: HoldOutOption = "patients",
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Cross-validate a configuration on the training split."""
    from pneumoscope.research.ablation import run_ablation

    dataset, settings = load_crossvalidation(data, out, configuration, epochs, seed)
    evaluation = run_ablation(dataset, out, settings=settings, protocol=hold_out, seed=seed)
    print_metrics(evaluation.metrics, evaluation.split)


def load_crossvalidation(
    data: Path | None, out: Path, configuration: str, epochs: int | None, seed: int
) -> "tuple[Dataset, TrainingSettings]":
    """Return the split data set and the training settings of a cross-validation."""
    from pneumoscope.models.settings import configuration_settings

    settings = configuration_settings(configuration, epochs=_choose_epochs(data, epochs))
    return _load_split(data, out, settings, seed), settings
