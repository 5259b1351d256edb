"""Options that commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class StudyConfigurations(StrEnum):
    """Which recipe to train."""

    REFERENCE = "reference"
    IMPROVED = "improved"
    DEFAULT = "default"
    BOTH = "both"


class ConfigurationName(StrEnum):
    """A recipe."""

    REFERENCE = "reference"
    IMPROVED = "improved"
    DEFAULT = "default"


class TrainConfigurationName(StrEnum):
    """A recipe to train one net by."""

    REFERENCE = "reference"
    IMPROVED = "improved"
    DEFAULT = "default"
    TRANSFER = "transfer"


class HoldOut(StrEnum):
    """What is held out at a time."""

    PATIENTS = "patients"
    SERIES = "series"
    IMAGES = "images"


class Task(StrEnum):
    """A net to train."""

    BINARY = "binary"
    THREE_CLASS = "three_class"
    ANOMALY = "anomaly"


class ClassifierTask(StrEnum):
    """A classifier."""

    BINARY = "binary"
    THREE_CLASS = "three_class"


class MapMethod(StrEnum):
    """A way to map embeddings to the plane."""

    TSNE = "tsne"
    UMAP = "umap"


def _check_backbone(name: str | None) -> str | None:
    from pneumoscope.models.architectures.pretrained import BACKBONES

    if name is not None and name not in BACKBONES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(BACKBONES)}")
    return name


DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder or CSV manifest of radiographs; phantoms are drawn without it.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for everything that is written.")]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's own (phantoms: 6).")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]
StudyOption = Annotated[Path, typer.Option("--study", help="Folder that a study left.")]
ConfigurationOption = Annotated[ConfigurationName, typer.Option("--configuration", help="Recipe of the model.")]
TrainConfigurationOption = Annotated[
    TrainConfigurationName | None,
    typer.Option("--configuration", help="Recipe; best by default, and transfer with --backbone."),
]
TaskOption = Annotated[
    Task | None,
    typer.Option("--task", help="Which net; binary by default, and three_class with --backbone or `default`."),
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="Train on this pretrained model of keras.applications instead, three classes.",
        callback=_check_backbone,
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FILE|imagenet|none",
        help="What the backbone starts from: a file made without its top, those that Keras downloads, or random ones.",
    ),
]
HoldOutOption = Annotated[HoldOut, typer.Option("--hold-out", help="What a model has not seen.")]
ClassifierOption = Annotated[ClassifierTask, typer.Option("--task", help="Which classifier.")]
ImagesArgument = Annotated[list[Path] | None, typer.Argument(help="Image files; without any, the study's metrics.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
