"""`data`: download, audit or generate data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pneumoscope.cli.options import DataArgument, OutOption, SeedOption, with_labels

if TYPE_CHECKING:
    from pneumoscope.data.label_options import LabelOptions

COMMANDS = typer.Typer(
    help="Download, audit or generate data sets.",
    epilog="Example: pneumoscope data download chest_xray",
    no_args_is_help=True,
)
# Training splits off validation patients; fewer images leave a class with too few patients.
MIN_TRAIN = 90


@COMMANDS.command(epilog="Example: pneumoscope data audit chest_xray --out audit")
@with_labels
def audit(data: DataArgument, labels: "LabelOptions", out: OutOption = Path("audit")) -> None:
    """Report class counts, duplicates, damaged files and patients in several splits."""
    from pneumoscope.data.audit import audit_dataset
    from pneumoscope.data.dataset import load_dataset
    from pneumoscope.report.audit_page import format_audit, write_audit

    dataset = load_dataset(data, options=labels)
    result = audit_dataset(dataset)
    page = write_audit(result, dataset, out)
    typer.echo(f"{format_audit(result, dataset.label_set)}\n{page}")


@COMMANDS.command(epilog="Example: pneumoscope data download chest_xray")
def download(
    out: Annotated[Path, typer.Argument(help="Output folder.")],
    source: Annotated[Literal["auto", "kaggle", "mendeley"], typer.Option(help="Download source.")] = "auto",
) -> None:
    """Download the data set "Chest X-Ray Images (Pneumonia)" (Kermany, Zhang, Goldbaum 2018, CC BY 4.0)."""
    from pneumoscope.data.download import download_collection

    typer.echo(download_collection(out, source=source))


@COMMANDS.command(epilog="Example: pneumoscope data phantoms phantoms --num-train 300")
def phantoms(
    out: Annotated[Path, typer.Argument(help="Output folder, new or empty.")],
    num_train: Annotated[
        int, typer.Option(min=MIN_TRAIN, help=f"Number of training images; training needs {MIN_TRAIN} or more.")
    ] = 900,
    num_test: Annotated[int, typer.Option(min=30, help="Number of test images.")] = 240,
    classes: Annotated[
        Literal["kermany", "five-class", "multi-label"],
        typer.Option(help="Those of Kermany; five classes; or four findings in a table."),
    ] = "kermany",
    seed: SeedOption = 0,
) -> None:
    """Generate synthetic radiographs (phantoms) with known lesions, laid out like the real data set."""
    from pneumoscope.phantoms.phantom import write_phantoms

    typer.echo(write_phantoms(out, num_train=num_train, num_test=num_test, label_set=classes, seed=seed))
