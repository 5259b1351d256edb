"""Options that commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ProfileChoice(StrEnum):
    """Which recipe to train."""

    PAPER = "paper"
    BEST = "best"
    FLAGSHIP = "flagship"
    BOTH = "both"


class OneProfile(StrEnum):
    """A recipe."""

    PAPER = "paper"
    BEST = "best"
    FLAGSHIP = "flagship"


class TrainProfile(StrEnum):
    """A recipe to train one net by."""

    PAPER = "paper"
    BEST = "best"
    FLAGSHIP = "flagship"
    TRANSFER = "transfer"


class Backbone(StrEnum):
    """A net of `keras.applications`."""

    MOBILENET = "mobilenet"
    MOBILENET_V2 = "mobilenet-v2"
    MOBILENET_V3_SMALL = "mobilenet-v3-small"
    MOBILENET_V3_LARGE = "mobilenet-v3-large"
    EFFICIENTNET_V2_B0 = "efficientnetv2-b0"
    DENSENET_121 = "densenet121"
    RESNET_50_V2 = "resnet50v2"
    CONVNEXT_TINY = "convnext-tiny"


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


DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder or CSV manifest of radiographs; phantoms are drawn without it.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for everything that is written.")]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's own (phantoms: 6).")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]
StudyOption = Annotated[Path, typer.Option("--study", help="Folder that a study left.")]
ProfileOption = Annotated[OneProfile, typer.Option("--profile", "--recipe", help="Recipe of the model.")]
TrainProfileOption = Annotated[
    TrainProfile | None,
    typer.Option("--profile", "--recipe", help="Recipe; best by default, and transfer with --backbone."),
]
TaskOption = Annotated[
    Task | None,
    typer.Option("--task", help="Which net; binary by default, and three_class with --backbone or the flagship."),
]
BackboneOption = Annotated[
    Backbone | None, typer.Option("--backbone", help="Fit this net of keras.applications to three classes instead.")
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
