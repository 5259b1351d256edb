"""Fetch, arrange, check or draw radiographs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import OutOption, SeedOption

COMMANDS = typer.Typer(help="Fetch, arrange, check or draw radiographs.", no_args_is_help=True)


class DownloadSource(StrEnum):
    """Where to fetch the data set from."""

    AUTO = "auto"
    KAGGLE = "kaggle"
    MENDELEY = "mendeley"


@COMMANDS.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder of radiographs, left as it is.")],
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files instead of linking to them.")] = False,
) -> None:
    """Arrange the folders into normal, bacterial and viral."""
    from pneumoscope.data.prepare import prepare_folders

    typer.echo(prepare_folders(source, out, copy=copy))


@COMMANDS.command()
def audit(
    data: Annotated[Path, typer.Argument(help="Folder or CSV manifest of radiographs.")],
    out: OutOption = Path("audit"),
) -> None:
    """Count, compare and picture a collection, and tell what is wrong with it."""
    from pneumoscope.data.audit import audit_dataset
    from pneumoscope.data.dataset import load_dataset
    from pneumoscope.report.audit_page import format_audit, write_audit

    dataset = load_dataset(data)
    found = audit_dataset(dataset)
    page = write_audit(found, dataset, out)
    typer.echo(format_audit(found))
    typer.echo(page)


@COMMANDS.command()
def download(
    out: Annotated[Path, typer.Argument(help="Folder to fetch to.")],
    source: Annotated[DownloadSource, typer.Option(help="Where from.")] = DownloadSource.AUTO,
) -> None:
    """Fetch "Chest X-Ray Images (Pneumonia)" (Kermany, Zhang, Goldbaum 2018, CC BY 4.0)."""
    from pneumoscope.data.download import download_collection

    typer.echo(download_collection(out, source=source.value))


@COMMANDS.command()
def phantoms(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    num_train: Annotated[int, typer.Option(min=30)] = 900,
    num_test: Annotated[int, typer.Option(min=30)] = 240,
    seed: SeedOption = 0,
) -> None:
    """Draw phantoms with known lesions, in the folders and names of the real set."""
    from pneumoscope.phantoms.phantom import write_phantoms

    typer.echo(write_phantoms(out, num_train=num_train, num_test=num_test, seed=seed))
