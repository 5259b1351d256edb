"""`read`: predictions for files."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.cli import archive
from pneumoscope.cli.options import (
    IgnorePopulationOption,
    OperatingPointOption,
    ReaderOption,
)
from pneumoscope.cli.output import INTERRUPTED, NOT_WRITTEN, SOME_FAILED, open_console
from pneumoscope.errors import PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.inference.batch import Render
    from pneumoscope.inference.reader import Reader
    from pneumoscope.inference.reading import Reading
    from pneumoscope.inference.table import Table

COMMANDS = typer.Typer()
FAILED = "unreadable"
ROWS_PER_TABLE = 500
MAX_PATH_LENGTH = 40
MAX_SHOWN = 4
FLAG = "{flag}"  # in the help: `describe_flag` of the included models
READ_HELP = f"""Classify radiographs (DICOM, JPEG, PNG, TIFF, WebP, BMP or JPEG 2000) and print one row per file.

\b
Columns of --output and keys of --json:
  path                the file
  error               why the file cannot be read
  decision            class, findings joined by |, uncertain (the model
                      abstains) or rejected (not an image for the model)
  operating_point     operating point or threshold of the decision
  p_<class>           calibrated probability of each class and group, such as
                      p_normal and p_pneumonia
  p_<class>_low       95 % interval of this probability, by resampling the
  p_<class>_high      calibration
  anomaly_score       distance from normal radiographs
  anomaly_percentile  percentage of held-out normals with a lower score
  anomalous           whether this percentage is above 95; see below for the
                      false positive rate
  in_distribution     whether the image is like the training images; false
                      if it is flagged or rejected
  reason              why the image is uncertain, rejected or flagged
  warnings            codes of what was ignored, guessed or noticed
  neighbors           nearest reference cases: name, label, distance
  width, height       size of the file in pixels
  sop_instance_uid, study_instance_uid, patient_id, accession_number,
  age_years, sex, view, laterality, study_date
                      from the DICOM header; empty with --deidentify
  heatmap             figure written by --heatmaps
  dicom_files         files written by --dicom-out
  model               version and hash of the models

The probabilities assume that half of the images are of the negative class, and that all others
are equally frequent.

Included models: {FLAG}

The command exits with 1 if a file cannot be read, and with 3 if the output cannot be written.
"""


@COMMANDS.command(help=READ_HELP, epilog="Example: pneumoscope read folder/ image.dcm --output readings.csv")
def read(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Files, folders, globs, URLs, or - for a list on standard input."),
    ] = None,
    operating_point: OperatingPointOption = "balanced",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    output: archive.OutputOption = None,
    shard: archive.ShardOption = None,
    combine: archive.CombineOption = None,
    heatmaps: Annotated[Path | None, typer.Option(help="Folder for one heatmap figure per image.")] = None,
    dicom_out: Annotated[
        Path | None, typer.Option(help="Folder for one DICOM secondary capture and structured report per image.")
    ] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Leave the patient out of the table and of the DICOM output.")
    ] = False,
    model: ReaderOption = None,
    ignore_population: IgnorePopulationOption = False,
    workers: Annotated[int, typer.Option(min=0, help="Threads, or processes for a shard; 0 is one per core.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of files per batch.")] = 32,
    resume: Annotated[bool, typer.Option("--resume", help="Skip files that --output already contains.")] = False,
    no_retry: Annotated[bool, typer.Option("--no-retry", help="With --resume, also skip rows with an error.")] = False,
    null: Annotated[bool, typer.Option("--null", help="Names on standard input end with a null byte.")] = False,
    engine: archive.EngineOption = "threads",
    address: archive.AddressOption = None,
) -> None:
    """Classify radiographs and print one row per file."""
    from pneumoscope.data.source import printable_name
    from pneumoscope.inference.batch import ReadBatch, find_files, list_files, read_files
    from pneumoscope.inference.model_set import NO_HEATMAPS
    from pneumoscope.inference.processes import read_in_processes
    from pneumoscope.inference.reader import Reader
    from pneumoscope.progress import track

    if combine:
        others: dict[str, object] = {
            "shard": shard,
            "heatmaps": heatmaps,
            "dicom-out": dicom_out,
            "model": model,
            "address": address,
        }
        others |= {"resume": resume, "no-retry": no_retry, "json": as_json, "engine": engine == "ray"}
        archive.combine_table(
            combine, output, [*(paths or []), *(f"--{name}" for name, value in others.items() if value)]
        )
        return
    if not paths:
        raise PneumoscopeError("nothing to read; expected files, folders, globs or -, or --combine DIR")
    if resume and output is None:
        raise PneumoscopeError("--resume continues a table; expected --output FILE as well")
    settings: dict[str, Any] = {
        "operating_point": operating_point,
        "ignore_population": ignore_population,
        "deidentify": deidentify,
    }
    if engine == "ray":
        archive.check_cluster(
            output, heatmaps=heatmaps, dicom_out=dicom_out, shard=shard, json=as_json, no_retry=no_retry
        )
        options = {"num_workers": workers, "address": address, "batch_size": batch_size, "resume": resume}
        batch = ReadBatch(model and model.absolute(), **settings)
        counts = archive.read_on_cluster(batch, paths, str(output), null=null, **options)
        _summarize(counts, output)
        return
    if address:
        raise PneumoscopeError("--address names a Ray cluster; expected --engine ray as well")
    part = archive.choose_part(paths, output, shard)
    files: Iterable[str] = list_files(paths, null=null, holds=part.holds) if part else find_files(paths, null=null)
    # A single file runs on all cores. Of several files, each runs on one core.
    num_threads = 0 if isinstance(files, list) and len(files) == 1 else 1
    batch = ReadBatch(
        model if part else Reader.open(model, num_threads=num_threads, ignore_population=ignore_population),
        **settings,
        render=_choose_render(heatmaps, dicom_out, deidentify),
    )
    reader = batch.reader
    if heatmaps and not reader.has_heatmaps:
        raise PneumoscopeError(NO_HEATMAPS)
    head = {"model": reader.models.id, "operating_point": operating_point}
    table = archive.open_table(output, part, head=head, scored=reader.scored, resume=resume, retry=not no_retry)
    files = (path for path in files if not table or printable_name(path) not in table.done)
    files = files if part else list(files)
    read_all = read_in_processes if part else read_files
    readings = read_all(batch, files, batch_size=batch_size, num_workers=workers)
    total = len(files) if isinstance(files, list) else None
    rows = _write_rows(_pass_over_own(track(readings, "Reading", total=total)), table)
    with _ended(table):
        counts = _print(rows, reader, as_json=as_json, shown=output is None or sys.stdout.isatty())
    if table and output:
        archive.close_table(table, output, part)
    if adapted := reader.models.cards.classifier.adapted:
        typer.echo(f"The model was adapted to {adapted.images} images of another hospital. {adapted.verdict}", err=True)
    _summarize(counts, output)


@contextmanager
def _ended(table: "Table | None") -> Iterator[None]:
    """Say how to go on if the user or a full disk ends the run."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; add --resume to continue" if table else "stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        rest = f"{table.path}.partial keeps the finished rows; free space and add --resume to continue" if table else ""
        typer.echo(f"pneumoscope: the output cannot be written: {error}. {rest}".rstrip(), err=True)
        raise typer.Exit(NOT_WRITTEN) from None


def _summarize(counts: Counter[str], output: str | None) -> None:
    """Print how many files have which decision, and exit with 1 if one cannot be read."""
    decisions = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no new files"
    number = f"{counts.total()} file{'s' * (counts.total() != 1)}"
    typer.echo(f"{number}: {decisions}{f'; {output}' if output else ''}. {RESEARCH_USE_ONLY}", err=True)
    if counts[FAILED]:
        raise typer.Exit(SOME_FAILED)


def _choose_render(heatmaps: Path | None, dicom_out: Path | None, deidentify: bool) -> "Render | None":
    if not (heatmaps or dicom_out):
        return None
    from pneumoscope.pacs.reading_files import write_reading

    return partial(write_reading, heatmaps_dir=heatmaps, dicom_dir=dicom_out, deidentify=deidentify)


def _pass_over_own(readings: "Iterable[Reading]") -> "Iterator[Reading]":
    """Yield the readings but for DICOM objects that this program wrote, which are counted."""
    from pneumoscope.data.dicom import OWN_OBJECT
    from pneumoscope.progress import log

    count = 0
    for reading in readings:
        count += reading.error == OWN_OBJECT
        if reading.error != OWN_OBJECT:
            yield reading
    if count:
        log.warning("passed over: %d files, each %s", count, OWN_OBJECT)


def _write_rows(readings: "Iterable[Reading]", table: "Table | None") -> Iterator[dict[str, Any]]:
    """Yield one row per reading, and add it to the table."""
    with table or nullcontext():
        for reading in readings:
            row = reading.to_row()
            if table:
                table.add(row)
            yield row
        if table:
            table.finish()


def _print(rows: Iterator[dict[str, Any]], reader: "Reader", *, as_json: bool, shown: bool) -> Counter[str]:
    """Print rows as JSON lines or as tables, and return the number of files per decision."""
    counts: Counter[str] = Counter()
    while part := list(islice(rows, 1 if as_json else ROWS_PER_TABLE)):
        counts.update(FAILED if row["error"] else row["decision"] for row in part)
        if as_json:
            typer.echo(json.dumps(part[0]))
        elif shown:
            positive = reader.models.label_set.positive
            cautions = [reader.trust["label_trust"]] if any(row["decision"] == positive for row in part) else []
            cautions += [reader.trust["flag_trust"]] if any(row["anomalous"] for row in part) else []
            _print_table(part, reader.models.label_set.scored, "\n".join(filter(None, cautions)))
    return counts


def _print_table(rows: list[dict[str, Any]], scored: tuple[str, ...], trust: str) -> None:
    from rich.table import Table

    from pneumoscope.data.source import shorten_name

    console, table = open_console(), Table(caption=f"{RESEARCH_USE_ONLY}\n{trust}".rstrip())
    # Relative widths make rows wrap on a terminal. A file gets one line per row.
    table.add_column("file", overflow="fold", ratio=3 if console.is_terminal else None)
    shown = scored[-1:] if console.is_terminal and len(scored) > MAX_SHOWN else scored
    for name in ("decision", *shown, "anomalous"):
        table.add_column(name, no_wrap=True)
    table.add_column("reason", ratio=4 if console.is_terminal else None)
    for row in rows:
        values = [row[f"p_{name}"] for name in shown]
        table.add_row(
            shorten_name(row["path"], most=MAX_PATH_LENGTH),
            row["decision"] or "error",
            *("" if value is None else f"{value:.0%}" for value in values),
            {True: "yes", False: "no", None: ""}[row["anomalous"]],
            row["error"] or row["reason"] or "",
        )
    console.print(table)
