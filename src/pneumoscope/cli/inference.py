"""`read`, `app` and `export`: predictions for new radiographs."""

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
from pneumoscope.cli.output import INTERRUPTED, SOME_FAILED, open_console

if TYPE_CHECKING:
    from pneumoscope.inference.batch import BatchSettings, Render
    from pneumoscope.inference.reader import Reader
    from pneumoscope.inference.table import Table

COMMANDS = typer.Typer()
FAILED = "unreadable"
ROWS_PER_TABLE = 500
MAX_PATH_LENGTH = 40
READ_HELP = """Classify radiographs (JPEG, PNG or DICOM) and print one row per file.

\b
Columns of --output and keys of --json:
  path                the file
  error               why the file cannot be read
  decision            normal, pneumonia, uncertain (the model abstains) or
                      rejected (by the out-of-distribution detector)
  operating_point     operating point or threshold of the decision
  p_normal, p_bacterial, p_viral
                      calibrated probabilities that sum to 1
  p_pneumonia         p_bacterial + p_viral
  anomaly_score       distance from normal radiographs
  anomaly_percentile  percentage of held-out normals with a lower score
  in_distribution     whether the image is like the training images; false
                      if the out-of-distribution detector flags or rejects
                      it
  reason              why the image is uncertain, rejected or flagged
  neighbors           nearest reference cases: name, label, distance
  heatmap             figure written by --heatmaps
  model               version and hash of the models

The probabilities assume that normal, bacterial and viral are equally frequent.

The command exits with 1 if a file cannot be read.
"""


@COMMANDS.command(help=READ_HELP, epilog="Example: pneumoscope read folder/ image.dcm --output readings.csv")
def read(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, globs, or - for a list on standard input.")],
    operating_point: OperatingPointOption = "balanced",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    output: Annotated[Path | None, typer.Option(help="Table to write: .csv, .parquet or .jsonl.")] = None,
    heatmaps: Annotated[Path | None, typer.Option(help="Folder for one heatmap figure per image.")] = None,
    dicom_out: Annotated[
        Path | None, typer.Option(help="Folder for one DICOM secondary capture and structured report per image.")
    ] = None,
    deidentify: Annotated[bool, typer.Option("--deidentify", help="Deidentify the DICOM output.")] = False,
    models: ModelsOption = None,
    workers: Annotated[int, typer.Option(min=0, help="Number of threads; 0 is one per core.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of files per batch.")] = 32,
    resume: Annotated[bool, typer.Option("--resume", help="Skip files that --output already contains.")] = False,
) -> None:
    """Classify radiographs and print one row per file."""
    from pneumoscope.errors import PneumoscopeError
    from pneumoscope.inference.batch import BatchSettings, find_files
    from pneumoscope.inference.reader import NO_HEATMAPS, Reader
    from pneumoscope.inference.table import Table

    if resume and output is None:
        raise PneumoscopeError("--resume continues a table; expected --output FILE as well")
    if deidentify and dicom_out is None:
        raise PneumoscopeError("--deidentify applies to DICOM output; expected --dicom-out FOLDER as well")
    files = find_files(paths)
    settings = BatchSettings(operating_point, batch_size, workers)
    render = _choose_render(heatmaps, dicom_out, deidentify)
    # A single file runs on all cores. Of several files, each runs on one core.
    reader = Reader.open(models, num_threads=0 if len(files) == 1 else 1)
    if heatmaps and not reader.has_heatmaps:
        raise PneumoscopeError(NO_HEATMAPS)
    head = {"model": reader.models.id, "operating_point": operating_point}
    table = Table(output, resume=resume, head=head) if output else None
    try:
        shown = output is None or sys.stdout.isatty()
        rows = _read(reader, files, settings, render, table)
        counts = _print(rows, as_json=as_json, shown=shown, trust=reader.trust["subtype_trust"])
    except KeyboardInterrupt:
        typer.echo("stopped; add --resume to continue" if output else "stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None
    decisions = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no new files"
    total, written = counts.total(), f"; {output}" if output else ""
    typer.echo(f"{total} file{'s' * (total != 1)}: {decisions}{written}. {RESEARCH_USE_ONLY}", err=True)
    if counts[FAILED]:
        raise typer.Exit(SOME_FAILED)


@COMMANDS.command(epilog="Example: pneumoscope app --study out")
def app(
    models: ModelsOption = None,
    study: Annotated[Path | None, typer.Option(help="Folder of a study; the app also shows its report.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the training images; the app shows nearest neighbors from it.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Local port; the next free port if occupied.")] = 8427,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
) -> None:
    """Start the web app; only this computer can reach it."""
    from pneumoscope.app.server import serve

    serve(models, study_dir=study, data_dir=data, port=port, open_browser=not no_browser)


@COMMANDS.command(epilog="Example: pneumoscope export out --configuration default --out models")
def export(
    model_dir: Annotated[Path, typer.Argument(help="Folder of a trained model or a study.")],
    out: Annotated[Path | None, typer.Option(help="Output folder; by default `export` in that folder.")] = None,
    configuration: ConfigurationOption = "improved",
    data_license: Annotated[str, typer.Option(help="License of the training images, for the card.")] = "not stated",
    explain_results: Annotated[
        Path | None, typer.Option(help="explain.json of `research explain`; adds heatmap metrics to the card.")
    ] = None,
    label_audit: Annotated[
        Path | None,
        typer.Option(help="labels.json of `research labels`; adds bacterial versus viral reliability to the card."),
    ] = None,
) -> None:
    """Export trained models to ONNX."""
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
    """Yield one row per file that the table does not contain yet, and add the row to the table."""
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
    """Print rows as JSON lines or as tables, and return the number of files per decision."""
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

    caution = trust if any(row["decision"] == "pneumonia" for row in rows) else ""
    console, table = open_console(), Table(caption=f"{RESEARCH_USE_ONLY}\n{caution}".rstrip())
    # Relative widths make rows wrap on a terminal. A file gets one line per row.
    table.add_column("file", overflow="fold", ratio=3 if console.is_terminal else None)
    for name in ("decision", "pneumonia", "bacterial\n/ viral", "anomaly\npercentile"):
        table.add_column(name, no_wrap=True)
    table.add_column("reason", ratio=4 if console.is_terminal else None)
    for row in rows:
        numbers = ["", "", ""]
        if row["p_pneumonia"] is not None:
            subtypes = f"{row['p_bacterial']:.0%} / {row['p_viral']:.0%}"
            numbers = [f"{row['p_pneumonia']:.0%}", subtypes, f"{math.floor(row['anomaly_percentile'])}"]
        name, reason = shorten_name(row["path"], most=MAX_PATH_LENGTH), row["error"] or row["reason"] or ""
        table.add_row(name, row["decision"] or "error", *numbers, reason)
    console.print(table)
