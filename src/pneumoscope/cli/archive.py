"""What `read` does with an archive: parts of a table, object storage, Ray Data."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.errors import PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.inference.batch import ReadBatch
    from pneumoscope.inference.shards import Shard
    from pneumoscope.inference.table import Table

OutputOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|DIR/", help="Table to write: .csv, .parquet or .jsonl; or folder of its parts. Also a URL."
    ),
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
    str | None, typer.Option(metavar="DIR", help="Join the parts in a folder or URL into the table --output.")
]


EngineOption = Annotated[
    Literal["threads", "ray"], typer.Option(help="Read in this process, or with Ray Data into --output DIR/.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(help="Ray cluster, auto for that of this machine.", show_default="a cluster for this run alone"),
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


def open_table(output: str | None, part: "Shard | None", *, resume: bool, **settings: Any) -> "Table | None":
    """Return the table of `read`; None if rows are only printed. That of a URL is a local file, see `close_table`."""
    from pneumoscope.inference.shards import open_part
    from pneumoscope.inference.table import Table
    from pneumoscope.io.storage import put_file

    if output is None:
        return None
    path, url = _locate(output, part)
    if url:
        _fetch_existing(path, url, resume=resume)
    if part is None:
        return Table(path, resume=resume, **settings)
    table = open_part(path.parent, part, resume=resume, **settings)
    if url:
        put_file(path.with_suffix(".json"), f"{url.rpartition('/')[0]}/{path.stem}.json")
    return table


def close_table(table: "Table", output: str, part: "Shard | None") -> None:
    """Complete a finished table: write the manifest of a part, and the objects of a URL."""
    from pneumoscope.inference.shards import close_part
    from pneumoscope.io.storage import put_file

    if part:
        close_part(table)
    path, url = _locate(output, part)
    if url:
        parent = url.rpartition("/")[0]
        for file in (path, *([path.with_suffix(".json")] if part else [])):  # a manifest says that its part is there
            put_file(file, f"{parent}/{file.name}")
            file.unlink()


def _locate(output: str, part: "Shard | None") -> tuple[Path, str | None]:
    """Return the local path of a table, and the URL of its object, if any."""
    from pneumoscope.io.storage import cache_folder, is_url

    if not is_url(output):
        return (Path(output) / part.part_name if part else Path(output)), None
    parent, _, name = f"{output.rstrip('/')}/{part.part_name}".rpartition("/") if part else output.rpartition("/")
    # A folder of its own: other processes may write other parts at the same time.
    return cache_folder(f"{parent}/{name}#output") / name, f"{parent}/{name}"


def _fetch_existing(path: Path, url: str, *, resume: bool) -> None:
    """Copy the manifests beside a part, and the table itself if it is to be continued."""
    from pneumoscope.io.storage import exists, fetch_file, fetch_folder

    if path.name.startswith("part-"):
        fetch_folder(url.rpartition("/")[0], folder=path.parent, wanted=re.compile(r"part-\d+-of-\d+\.json").fullmatch)
    if path.exists() or path.with_name(f"{path.name}.partial").exists() or not exists(url):
        return
    if not resume:
        raise PneumoscopeError(f"{url} exists already; expected a new object. Add --resume, or give another --output")
    fetch_file(url, path)


def combine_table(source: str, output: str | None, others: Sequence[str]) -> None:
    """Join the parts in a folder into one table."""
    from pneumoscope.inference.shards import combine_parts
    from pneumoscope.io.storage import exists, fetch_data, is_url, put_file

    if output is None or others:
        given = f", not {', '.join(others)}" if others else ""
        raise PneumoscopeError(f"--combine {source} joins parts; expected --output FILE alone{given}")
    path, url = _locate(output, None)
    if url and exists(url):
        raise PneumoscopeError(f"{url} exists already; give another --output, or delete it")
    if url:
        path.unlink(missing_ok=True)  # of a run whose object could not be written
    folder = fetch_data(source)
    number = combine_parts(folder, path)
    if url:
        put_file(path, url)
        path.unlink()
    if is_url(source):
        shutil.rmtree(folder)  # copies of rows about patients
    typer.echo(f"{number} files; {output}. {RESEARCH_USE_ONLY}", err=True)


def check_cluster(output: str | None, **others: object) -> None:
    """Check that the options suit Ray Data.

    Raises:
        PneumoscopeError: if the output is no folder, or another option is given that Ray Data does not serve.
    """
    from pneumoscope.inference.table import FORMATS

    if output is None or output.endswith(FORMATS) or "://" in output:
        raise PneumoscopeError(f"--engine ray writes Parquet files into a folder; expected --output DIR/, not {output}")
    if given := [f"--{name.replace('_', '-')}" for name, value in others.items() if value]:
        raise PneumoscopeError(f"--engine ray writes a table only; expected no {', '.join(given)}")


def read_on_cluster(
    read: "ReadBatch", sources: Sequence[str], output: str, *, null: bool, **settings: Any
) -> Counter[str]:
    """Read files with Ray Data, see `read_with_ray`."""
    from pneumoscope.inference.batch import find_files
    from pneumoscope.inference.ray_data import read_with_ray
    from pneumoscope.io.storage import is_url

    def list_absolute() -> Iterator[str]:  # after the cluster is checked; its processes may run in another folder
        for path in find_files(sources, null=null):
            yield path if is_url(path) else os.path.abspath(path)  # noqa: PTH100

    return read_with_ray(read, list_absolute(), Path(output), **settings)
