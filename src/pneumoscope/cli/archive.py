"""The part of `read` that reads an archive in shards."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.errors import PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.inference.shards import Shard
    from pneumoscope.inference.table import Table

OutputOption = Annotated[
    str | None,
    typer.Option(metavar="FILE|DIR/", help="Table to write: .csv, .parquet or .jsonl; or folder of the parts of one."),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="INDEX/COUNT",
        help="Read one of COUNT shards, counted from 0, into a part in --output DIR/. /COUNT takes the index of the "
        "Slurm or Kubernetes task.",
        show_default="the task of a Slurm array",
    ),
]
CombineOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", file_okay=False, help="Join the parts in a folder into the table --output."),
]


def choose_part(sources: Sequence[str], output: str | None, shard: str | None) -> "Shard | None":
    """Return the shard to read, or None if `output` is one table of all files.

    Raises:
        PneumoscopeError: if the options do not fit together, or the sources do not suit shards.
    """
    is_folder = output is not None and (output.endswith(("/", os.sep)) or Path(output).is_dir())
    if shard is None and not is_folder:
        return None
    from pneumoscope.inference.shards import check_sources, choose_shard
    from pneumoscope.inference.table import FORMATS

    if output is None or (not is_folder and output.endswith(FORMATS)):
        raise PneumoscopeError(f"--shard writes a part into a folder; expected --output DIR/, not {output}")
    chosen = choose_shard(shard, os.environ)
    check_sources(sources)
    return chosen


def open_table(output: str | None, part: "Shard | None", **settings: Any) -> "Table | None":
    """Return the table of `read`; None if rows are only printed."""
    from pneumoscope.inference.shards import open_part
    from pneumoscope.inference.table import Table

    if output is None:
        return None
    return open_part(Path(output), part, **settings) if part else Table(Path(output), **settings)


def combine_table(folder: Path, output: str | None, others: Sequence[str]) -> None:
    """Join the parts in a folder into one table."""
    from pneumoscope.inference.shards import combine_parts

    if output is None or others:
        raise PneumoscopeError(f"--combine {folder} joins parts; expected --output FILE and nothing else to read")
    number = combine_parts(folder, Path(output))
    typer.echo(f"{number} files; {output}. {RESEARCH_USE_ONLY}", err=True)
