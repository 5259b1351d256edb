"""Read new radiographs on the command line or in a browser, and export models for that."""

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.cli.options import ConfigurationOption, ModelsOption, OperatingPointOption
from pneumoscope.cli.output import INTERRUPTED, import_keras, open_console

if TYPE_CHECKING:
    from pneumoscope.inference.batch import BatchSettings, Render
    from pneumoscope.inference.reader import Reader
    from pneumoscope.inference.table import Table

COMMANDS = typer.Typer()
FAILED = "could not be read"
SOME_FAILED = 1
ROWS_PER_TABLE = 500
LONGEST_PATH = 40


@COMMANDS.command(epilog="Example: pneumoscope read folder/ image.dcm --output readings.csv")
def read(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, globs, or - for a list on standard input.")],
    operating_point: OperatingPointOption = "balanced",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write a table: .csv, .parquet or .jsonl.")] = None,
    heatmaps: Annotated[Path | None, typer.Option(help="Folder for a figure of each reading.")] = None,
    dicom_out: Annotated[Path | None, typer.Option(help="Folder for a DICOM image and report of each.")] = None,
    deidentify: Annotated[bool, typer.Option("--deidentify", help="Remove the patient from DICOM output.")] = False,
    models: ModelsOption = None,
    workers: Annotated[int, typer.Option(min=0, help="Number of threads; 0: one per core.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Largest number of files in a batch.")] = 32,
    resume: Annotated[bool, typer.Option("--resume", help="Skip the files that --output holds already.")] = False,
) -> None:
    """Read radiographs (JPEG, PNG or DICOM) and print one row for each; exit with 1 if some file cannot be read."""
    from pneumoscope.errors import PneumoscopeError
    from pneumoscope.inference.batch import BatchSettings, find_files
    from pneumoscope.inference.reader import Reader
    from pneumoscope.inference.table import Table

    if resume and output is None:
        raise PneumoscopeError("--resume continues a table; expected --output FILE too")
    files = find_files(paths)
    settings = BatchSettings(operating_point, batch_size, workers)
    render = _choose_render(heatmaps, dicom_out, deidentify)
    # One file is read with all cores; many are, each core reading its own.
    reader = Reader.open(models, num_threads=0 if len(files) == 1 else 1)
    head = {"model": reader.models.id, "operating_point": operating_point}
    table = Table(output, resume=resume, head=head) if output else None
    try:
        shown = output is None or sys.stdout.isatty()
        rows = _read(reader, files, settings, render, table)
        counts = _print(rows, as_json=as_json, shown=shown, trust=reader.trust["subtype_trust"])
    except KeyboardInterrupt:
        typer.echo("stopped; the same command with --resume continues" if output else "stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None
    decisions = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing new"
    total, written = counts.total(), f"; {output}" if output else ""
    typer.echo(f"{total} file{'s' * (total != 1)}: {decisions}{written}. {RESEARCH_USE_ONLY}", err=True)
    if counts[FAILED]:
        raise typer.Exit(SOME_FAILED)


@COMMANDS.command(epilog="Example: pneumoscope app --study out")
def app(
    models: ModelsOption = None,
    study: Annotated[Path | None, typer.Option(help="Folder of a study whose report is shown too.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the training images, to show nearest neighbors.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Local port; the next free one if it is taken.")] = 8427,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
) -> None:
    """Open the app, a page for reading radiographs that only this machine can reach."""
    from pneumoscope.app.server import serve

    serve(models, study_dir=study, data_dir=data, port=port, open_browser=not no_browser)


@COMMANDS.command(epilog="Example: pneumoscope export out --configuration default --out models")
def export(
    model_dir: Annotated[Path, typer.Argument(help="Folder of a trained model, or of a study.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; by default `export` in that folder.")] = None,
    configuration: ConfigurationOption = "improved",
    data_license: Annotated[str, typer.Option(help="License of the training images, for the card.")] = "not stated",
    explain_results: Annotated[
        Path | None, typer.Option(help="explain.json of `research explain`: how far to trust heatmaps.")
    ] = None,
    label_audit: Annotated[
        Path | None, typer.Option(help="labels.json of `research labels`: how far to trust bacterial against viral.")
    ] = None,
) -> None:
    """Export trained models to ONNX for `read`, `evaluate` and `app`."""
    import_keras()
    from pneumoscope.export.model import export_model
    from pneumoscope.export.study import export_study
    from pneumoscope.io.study_folder import LEDGER_NAME
    from pneumoscope.report.model_card import write_model_cards
    from pneumoscope.study.pipeline import reopen_study

    if (model_dir / LEDGER_NAME).exists():
        written = export_study(
            model_dir,
            reopen_study(model_dir)[1],
            out or model_dir / "export",
            configuration=configuration,
            data_license=data_license,
            explain_results=explain_results,
            label_audit=label_audit,
        )
    else:
        written = export_model(model_dir, out)
    write_model_cards(written)
    typer.echo(written)


def _choose_render(heatmaps: Path | None, dicom_out: Path | None, deidentify: bool) -> "Render | None":
    if not (heatmaps or dicom_out):
        return None
    from pneumoscope.pacs.reading_files import write_reading

    return partial(write_reading, heatmaps_dir=heatmaps, dicom_dir=dicom_out, deidentify=deidentify)


def _read(
    reader: "Reader", files: list[str], settings: "BatchSettings", render: "Render | None", table: "Table | None"
) -> Iterator[dict[str, Any]]:
    """Yield a row for each file that the table does not hold yet, and add it there."""
    from pneumoscope.data.source import printable_name
    from pneumoscope.inference.batch import read_files
    from pneumoscope.progress import track

    with table or nullcontext():
        if table:
            files = [path for path in files if printable_name(path) not in table.done]
        for reading in track(read_files(reader, files, settings, render), "Reading", total=len(files)):
            row = reading.to_row()
            if table:
                table.add(row)
            yield row
        if table:
            table.finish()


def _print(rows: Iterator[dict[str, Any]], *, as_json: bool, shown: bool, trust: str) -> Counter[str]:
    """Print rows, as JSON one by one or as tables; return the number of each decision."""
    counts: Counter[str] = Counter()
    while part := list(islice(rows, 1 if as_json else ROWS_PER_TABLE)):
        counts.update(FAILED if row["error"] else row["decision"] for row in part)
        if as_json:
            typer.echo(json.dumps(part[0]))
        elif shown:
            _print_table(part, trust)
    return counts


def _print_table(rows: list[dict[str, Any]], trust: str) -> None:
    from rich.table import Table

    from pneumoscope.data.source import shorten_name

    console, table = open_console(), Table(caption=f"{RESEARCH_USE_ONLY}\n{trust}".rstrip())
    # A share of the width is for a terminal; a file gets a line for each row.
    table.add_column("file", overflow="fold", ratio=3 if console.is_terminal else None)
    for name in ("decision", "pneumonia", "bact./viral", "anomaly"):
        table.add_column(name, no_wrap=True)
    table.add_column("remark", ratio=4 if console.is_terminal else None)
    for row in rows:
        numbers = ["", "", ""]
        if row["p_pneumonia"] is not None:
            subtypes = f"{row['p_bacterial']:.0%} / {row['p_viral']:.0%}"
            numbers = [f"{row['p_pneumonia']:.0%}", subtypes, f"{math.floor(row['anomaly_percentile'])} %"]
        name, remark = shorten_name(row["path"], most=LONGEST_PATH), row["error"] or row["reason"] or ""
        table.add_row(name, row["decision"] or "error", *numbers, remark)
    console.print(table)
