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


class Task(StrEnum):
    """A net to train."""

    BINARY = "binary"
    THREE_CLASS = "three_class"
    ANOMALY = "anomaly"


class ClassifierTask(StrEnum):
    """A classifier."""

    BINARY = "binary"
    THREE_CLASS = "three_class"


DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder or CSV manifest of radiographs; phantoms are drawn without it.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for everything that is written.")]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Instead of the profile's own (phantoms: 6).")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]
StudyOption = Annotated[Path, typer.Option("--study", help="Folder that a study left.")]
ProfileOption = Annotated[OneProfile, typer.Option("--profile", "--recipe", help="Recipe of the model.")]
ClassifierOption = Annotated[ClassifierTask, typer.Option("--task", help="Which classifier.")]
ImagesArgument = Annotated[list[Path] | None, typer.Argument(help="Image files; without any, the study's test images.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
