"""Read new radiographs, on the command line or in a browser, and export models that can."""

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.cli.options import ConfigurationName, ConfigurationOption
from pneumoscope.cli.output import import_keras, open_console

if TYPE_CHECKING:
    from pneumoscope.inference.batch import BatchSettings, Render
    from pneumoscope.inference.reader import Reader

COMMANDS = typer.Typer()
FAILED = "could not be read"
SOME_FAILED = 1
INTERRUPTED = 130
ROWS_A_TABLE = 500
LONGEST_PATH = 40

ModelsOption = Annotated[
    Path | None, typer.Option("--models", help="Folder that `export` left; the models that ship by default.")
]


@COMMANDS.command()
def read(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, globs, or - for a list on standard input.")],
    operating_point: Annotated[
        str, typer.Option(help="screening, balanced, specific, or a threshold between 0 and 1.")
    ] = "balanced",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON text a line.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write a table: .csv, .parquet or .jsonl.")] = None,
    heatmaps: Annotated[Path | None, typer.Option(help="Folder for a picture of each reading.")] = None,
    dicom_out: Annotated[Path | None, typer.Option(help="Folder for a DICOM picture and report of each.")] = None,
    deidentify: Annotated[bool, typer.Option("--deidentify", help="Keep the patient out of those.")] = False,
    models: ModelsOption = None,
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0: one a core.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Files that a thread takes at once, at most.")] = 32,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what --output holds already.")] = False,
) -> None:
    """Read radiographs: JPEG, PNG or DICOM. Exits with 1 if some file could not be read, 2 if nothing was tried."""
    from pneumoscope.errors import PneumoscopeError
    from pneumoscope.inference.batch import BatchSettings, find_files
    from pneumoscope.inference.reader import Reader

    if resume and output is None:
        raise PneumoscopeError("--resume goes on with a table; expected --output FILE too")
    files = find_files(paths)
    settings = BatchSettings(operating_point, batch_size, workers)
    render = _choose_render(heatmaps, dicom_out, deidentify)
    # One file is read with all cores; many are, each core reading its own.
    reader = Reader.open(models, num_threads=0 if len(files) == 1 else 1)
    try:
        rows = (
            _keep(reader, files, settings, render, output, resume) if output else _read(reader, files, settings, render)
        )
        trust = reader.trust["subtype_trust"]
        counts = _print(rows, as_json=as_json, shown=output is None or sys.stdout.isatty(), trust=trust)
    except KeyboardInterrupt:
        kept = "; the same command with --resume goes on" if output else ""
        typer.echo(f"stopped{kept}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    told = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing new"
    written = f"; {output}" if output else ""
    total = sum(counts.values())
    typer.echo(f"{total} file{'s' * (total != 1)}: {told}{written}. {RESEARCH_USE_ONLY}", err=True)
    if counts[FAILED]:
        raise typer.Exit(SOME_FAILED)


@COMMANDS.command()
def app(
    models: ModelsOption = None,
    study: Annotated[
        Path | None, typer.Option(help="Folder of a study whose report is shown beside the reading room.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the training images, to show those that are alike.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; the next free one if taken.")] = 8427,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page.")] = False,
) -> None:
    """Open the reading room: a page of this machine, for this machine only."""
    from pneumoscope.app.server import serve

    serve(models, study_dir=study, data_dir=data, port=port, open_browser=not no_browser)


@COMMANDS.command()
def export(
    model_dir: Annotated[Path, typer.Argument(help="Folder of a trained model, or of a whole study.")],
    out: Annotated[Path | None, typer.Option(help="Where to; `export` in that folder by default.")] = None,
    configuration: ConfigurationOption = ConfigurationName.IMPROVED,
    data_license: Annotated[str, typer.Option(help="Terms of the training images, for the card.")] = "not stated",
    explain_results: Annotated[
        Path | None, typer.Option(help="explain.json of `research explain`: how far to trust heat-maps.")
    ] = None,
    label_audit: Annotated[
        Path | None, typer.Option(help="labels.json of `research labels`: how far to trust bacterial against viral.")
    ] = None,
) -> None:
    """Turn trained models into what `read` and `app` take, which needs no Keras."""
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
            configuration=configuration.value,
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
    reader: "Reader", files: list[str], settings: "BatchSettings", render: "Render | None"
) -> Iterator[dict[str, Any]]:
    from pneumoscope.inference.batch import read_files
    from pneumoscope.progress import track

    for reading in track(read_files(reader, files, settings, render), "Reading", total=len(files)):
        yield reading.to_row()


def _keep(
    reader: "Reader", files: list[str], settings: "BatchSettings", render: "Render | None", output: Path, resume: bool
) -> Iterator[dict[str, Any]]:
    from pneumoscope.data.source import printable_name
    from pneumoscope.inference.table import Table

    head = {"model": reader.models.id, "operating_point": settings.operating_point}
    with Table(output, resume=resume, head=head) as table:
        left = [path for path in files if printable_name(path) not in table.done]
        for row in _read(reader, left, settings, render):
            table.add(row)
            yield row
        table.finish()


def _print(rows: Iterator[dict[str, Any]], *, as_json: bool, shown: bool, trust: str) -> Counter[str]:
    """Print rows as they come, or some hundred at a time with a caption; return how often each decision fell."""
    counts: Counter[str] = Counter()
    waiting: list[dict[str, Any]] = []
    for row in rows:
        counts[FAILED if row["error"] else row["decision"]] += 1
        if as_json:
            typer.echo(json.dumps(row))
        elif shown:
            waiting.append(row)
        if len(waiting) == ROWS_A_TABLE:
            _print_table(waiting, trust)
            waiting = []
    if waiting:
        _print_table(waiting, trust)
    return counts


def _print_table(rows: list[dict[str, Any]], trust: str) -> None:
    from rich.table import Table

    from pneumoscope.data.source import shorten_name

    console, table = open_console(), Table(caption=f"{RESEARCH_USE_ONLY}\n{trust}".rstrip())
    # A share of the width is for a terminal; a file gets a line for each row.
    table.add_column("file", overflow="fold", ratio=3 if console.is_terminal else None)
    for name in ("decision", "pneumonia", "bact./viral", "odder than"):
        table.add_column(name, no_wrap=True)
    table.add_column("remark", ratio=4 if console.is_terminal else None)
    for row in rows:
        name, remark = shorten_name(row["path"], most=LONGEST_PATH), row["error"] or row["reason"] or ""
        if row["p_pneumonia"] is None:
            table.add_row(name, row["decision"] or "error", "", "", "", remark)
        else:
            kinds = f"{row['p_bacterial']:.0%} / {row['p_viral']:.0%}"
            oddness = f"{math.floor(row['anomaly_percentile'])} %"
            table.add_row(name, row["decision"], f"{row['p_pneumonia']:.0%}", kinds, oddness, remark)
    console.print(table)
