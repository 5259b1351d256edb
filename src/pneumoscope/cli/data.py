"""Download, arrange, check or draw radiographs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pneumoscope.cli.options import OutOption, SeedOption

COMMANDS = typer.Typer(help="Download, arrange, check or draw radiographs.", no_args_is_help=True)


@COMMANDS.command(epilog="Example: pneumoscope data prepare chest_xray three-classes")
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder of radiographs; it is not changed.")],
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files instead of linking to them.")] = False,
) -> None:
    """Arrange a folder of radiographs into normal, bacterial and viral."""
    from pneumoscope.data.prepare import prepare_folders

    typer.echo(prepare_folders(source, out, copy=copy))


@COMMANDS.command(epilog="Example: pneumoscope data audit chest_xray --out audit")
def audit(
    data: Annotated[Path, typer.Argument(help="Folder or CSV manifest of radiographs.")],
    out: OutOption = Path("audit"),
) -> None:
    """Count the images of a collection and report duplicates, damaged files and shared patients."""
    from pneumoscope.data.audit import audit_dataset
    from pneumoscope.data.dataset import load_dataset
    from pneumoscope.report.audit_page import format_audit, write_audit

    dataset = load_dataset(data)
    result = audit_dataset(dataset)
    page = write_audit(result, dataset, out)
    typer.echo(f"{format_audit(result)}\n{page}")


@COMMANDS.command(epilog="Example: pneumoscope data download chest_xray")
def download(
    out: Annotated[Path, typer.Argument(help="Folder to download to.")],
    source: Annotated[Literal["auto", "kaggle", "mendeley"], typer.Option(help="Where to download from.")] = "auto",
) -> None:
    """Download "Chest X-Ray Images (Pneumonia)" (Kermany, Zhang, Goldbaum 2018, CC BY 4.0)."""
    from pneumoscope.data.download import download_collection

    typer.echo(download_collection(out, source=source))


@COMMANDS.command(epilog="Example: pneumoscope data phantoms phantoms --num-train 300")
def phantoms(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    num_train: Annotated[int, typer.Option(min=30, help="Number of training images.")] = 900,
    num_test: Annotated[int, typer.Option(min=30, help="Number of test images.")] = 240,
    seed: SeedOption = 0,
) -> None:
    """Draw phantoms with known lesions, in the folders and with the file names of the real data set."""
    from pneumoscope.phantoms.phantom import write_phantoms

    typer.echo(write_phantoms(out, num_train=num_train, num_test=num_test, seed=seed))
