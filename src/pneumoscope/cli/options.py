"""Options and arguments that commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Configuration = Literal["reference", "improved", "default"]
ClassifierTask = Literal["binary", "three_class"]
HoldOut = Literal["patients", "series", "images"]

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder or table (CSV, TSV, Parquet) of radiographs; phantoms by default.")
]
OutOption = Annotated[Path, typer.Option("--out", file_okay=False, help="Output folder.")]
StudyOption = Annotated[Path, typer.Option("--study", help="Folder of a study.")]
ModelsOption = Annotated[
    Path | None, typer.Option("--models", help="Folder of exported models; the included models by default.")
]
ConfigurationOption = Annotated[Configuration, typer.Option("--configuration", help="Configuration of the model.")]
ClassifierOption = Annotated[ClassifierTask, typer.Option("--task", help="Task of the classifier.")]
HoldOutOption = Annotated[
    HoldOut,
    typer.Option("--hold-out", help="What a fold holds out: patients, one series of file names of normals, or images."),
]
OperatingPointOption = Annotated[
    str, typer.Option(help="screening, balanced, specific, or a threshold in [0, 1] on the probability of pneumonia.")
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of epochs; the configuration's own by default, 6 on phantoms. Autoencoders: half, at least 8.",
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Random seed.")]
ImagesArgument = Annotated[
    list[Path] | None, typer.Argument(help="Image files. Without files, the study's metrics are printed.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
