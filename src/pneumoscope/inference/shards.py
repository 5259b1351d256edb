"""An archive read by many processes: each reads one shard of the files and writes one part of the table.

A file belongs to a shard by the hash of its path. Beside each part is a manifest. The processes share no file, and the
parts of another model, operating point or number of shards are refused.
"""

import glob
import hashlib
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, permutations
from pathlib import Path

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.table import ROW_GROUP, Row, Table, read_table, write_table
from pneumoscope.io.json_file import parse_json, write_json
from pneumoscope.io.read import read_text
from pneumoscope.io.storage import is_url

_SHARD = re.compile(r"(\d*)/([1-9]\d*)")
_INDEX_NAMES = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")
_SHOWN = 20


@dataclass(frozen=True)
class Shard:
    """One of `count` disjoint shares of the files of an archive, of about the same size.

    Attributes:
        index: number of the shard in [0, count).
        count: number of shards.

    Example:
        >>> [Shard(index, 2).holds("a/1.png") for index in range(2)]
        [True, False]
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise PneumoscopeError(
                f"shard {self.index} of {self.count}; expected a number from 0 to {self.count - 1}, as shards are "
                "counted from 0"
            )

    def holds(self, path: str) -> bool:
        """Return whether the file with this path relative to its source belongs to the shard."""
        return _digest(path) % self.count == self.index

    @property
    def part_name(self) -> str:
        """File name of the part."""
        return f"part-{self.index:05d}-of-{self.count:05d}.parquet"


def choose_shard(text: str | None, environment: Mapping[str, str]) -> Shard:
    """Return the shard that an option or the scheduler names.

    Args:
        text: `INDEX/COUNT`; `/COUNT`, whose index is that of the Slurm or Kubernetes task; or None, which takes both
            from a Slurm array.
        environment: environment variables.

    Raises:
        PneumoscopeError: if neither names a shard.
    """
    index = next((environment[name] for name in _INDEX_NAMES if environment.get(name)), "")
    if index and not index.isdecimal():
        raise PneumoscopeError(f"the index of the task is {index!r}; expected a number in {' or '.join(_INDEX_NAMES)}")
    if text is not None:
        if not (match := _SHARD.fullmatch(text)) or not (match[1] or index):
            raise PneumoscopeError(
                f"--shard {text}; expected INDEX/COUNT counted from 0, such as 3/128, or /128 where "
                f"{' or '.join(_INDEX_NAMES)} states the index"
            )
        return Shard(int(match[1] or index), int(match[2]))
    count = environment.get("SLURM_ARRAY_TASK_COUNT")
    if not (index and count and count.isdecimal()):
        raise PneumoscopeError("--output is a folder of parts; expected --shard INDEX/COUNT as well, such as 3/128")
    names = {end: environment.get(f"SLURM_ARRAY_TASK_{end}", default) for end, default in (("MIN", "0"), ("MAX", "-1"))}
    ends = [int(value) if re.fullmatch(r"-?\d+", value) else -2 for value in names.values()]
    if ends[0] != 0 or ends[1] not in (-1, int(count) - 1):
        raise PneumoscopeError(
            f"the Slurm array has {count} tasks from {ends[0]} to {ends[1]}; expected all tasks from 0, such as "
            "sbatch --array=0-127. To read some shards, name their number, such as --shard /128"
        )
    return Shard(int(index), int(count))


def check_sources(arguments: Sequence[str]) -> None:
    """Check that each process will find the same files, each once.

    Raises:
        PneumoscopeError: if a source does not exist here, or lies in another one.
    """
    sources = [name for name in arguments if name != "-" and (os.path.lexists(name) or not glob.has_magic(name))]
    if missing := [source for source in sources if not (is_url(source) or os.path.lexists(source))]:
        raise PneumoscopeError(f"{', '.join(missing)} does not exist; expected the same files on each machine")
    roots = [f"{source if is_url(source) else os.path.abspath(source)}".rstrip("/") + "/" for source in sources]  # noqa: PTH100
    for inner, outer in permutations(roots, 2):
        if inner.startswith(outer):
            raise PneumoscopeError(f"{inner} is in {outer}; expected sources apart, as each file is read once")


@dataclass(frozen=True)
class Manifest:
    """What one part of an archive was made from. It is written when the part is begun, and again when it is finished.

    Attributes:
        notice: that the part is for research use only.
        model, operating_point: of all rows.
        shard, count: of the files.
        inputs: number of the files in the part; None until it is finished.
        inputs_sha256: SHA-256 of their paths, sorted and joined by line ends.
    """

    notice: str
    model: str
    operating_point: str
    shard: int
    count: int
    inputs: int | None = None
    inputs_sha256: str | None = None

    @property
    def part_name(self) -> str:
        """File name of the part."""
        return Shard(self.shard, self.count).part_name


def open_part(
    folder: Path, shard: Shard, *, head: Row, scored: Sequence[str], resume: bool, retry: bool = True
) -> Table:
    """Open the table of one part, and begin its manifest.

    Args:
        folder: folder of all parts; it is created.
        shard: which part.
        head, scored, resume, retry: see `Table`.

    Raises:
        PneumoscopeError: see `Table`; or if the folder has parts of another model, operating point or number of shards.
    """
    manifest = Manifest(RESEARCH_USE_ONLY, head["model"], str(head["operating_point"]), shard.index, shard.count)
    _check_same([*read_manifests(folder), manifest], folder)
    table = Table(folder / shard.part_name, resume=resume, head=head, scored=scored, retry=retry)
    write_json(table.path.with_suffix(".json"), manifest)
    _check_same(read_manifests(folder), folder)  # another process may have begun meanwhile
    return table


def close_part(table: Table) -> None:
    """Complete the manifest of a part whose table is finished."""
    path = table.path.with_suffix(".json")
    number, digest = _hash_paths(table.paths)
    write_json(path, replace(_read_manifest(path), inputs=number, inputs_sha256=digest))


def combine_parts(folder: Path, output: Path) -> int:
    """Write one table of all parts, in the order of the shards, and return its number of rows.

    Args:
        folder: folder of the parts.
        output: table to write: `.csv`, `.parquet` or `.jsonl`.

    Raises:
        PneumoscopeError: if a shard is missing, a part differs from its manifest, a path is in two parts, or the output
            exists.
    """
    if output.exists():
        raise PneumoscopeError(f"{output} exists already; give another --output, or delete it")
    manifests = read_manifests(folder)
    if not manifests:
        raise PneumoscopeError(f"{folder} has no part; expected a folder that `read --shard` wrote")
    _check_same(manifests, folder)
    finished = {manifest.shard for manifest in manifests if manifest.inputs is not None}
    if missing := sorted(set(range(manifests[0].count)) - finished):
        shown = ", ".join(map(str, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
        raise PneumoscopeError(
            f"{len(missing)} of {manifests[0].count} shards are missing in {folder}: {shown}. Read them with --shard "
            "and --resume"
        )
    parts = [folder / manifest.part_name for manifest in manifests]
    _check_paths(parts, manifests)
    from pyarrow import parquet

    columns = [name for name in parquet.read_schema(parts[0]).names if name.startswith("p_")]
    rows = chain.from_iterable(map(read_table, parts))
    write_table(rows, output, [name.removeprefix("p_") for name in columns[::3]])
    return sum(manifest.inputs or 0 for manifest in manifests)


def read_manifests(folder: Path) -> list[Manifest]:
    """Return the manifests of a folder, in the order of the shards."""
    return [_read_manifest(path) for path in sorted(folder.glob("part-*-of-*.json"))]


def _read_manifest(path: Path) -> Manifest:
    try:
        return parse_json(Manifest, read_text(path))
    except ValueError as error:
        raise PneumoscopeError(f"{path} is no manifest of a part: {error}. Delete it, and read the shard") from None


def _check_same(manifests: Sequence[Manifest], folder: Path) -> None:
    for name in ("model", "operating_point", "count"):
        values = {getattr(manifest, name) for manifest in manifests}
        if len(values) > 1:
            raise PneumoscopeError(
                f"{folder} would mix parts of several values of {name.replace('_', ' ')}: "
                f"{', '.join(sorted(map(str, values)))}. Give another --output"
            )


def _check_paths(parts: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    """Compare the paths of each part with its manifest, and with those of the others."""
    digests = array("Q")  # 8 bytes for each path: the paths themselves might not fit the memory
    for part, manifest in zip(parts, manifests, strict=True):
        paths = list(_read_paths(part))
        if _hash_paths(paths) != (manifest.inputs, manifest.inputs_sha256):
            raise PneumoscopeError(f"{part} differs from its manifest; delete both and read the shard again")
        digests.extend(map(_digest, paths))
    values, counts = np.unique(np.frombuffer(digests, np.uint64), return_counts=True)
    if twice := set(values[counts > 1].tolist()):
        paths = [path for part in parts for path in _read_paths(part) if _digest(path) in twice]
        if repeated := [path for path, number in Counter(paths).items() if number > 1]:
            raise PneumoscopeError(
                f"{len(repeated)} files are in two parts, such as {repeated[0]}; expected each file once. Name each "
                "folder once, and read again"
            )


def _read_paths(part: Path) -> Iterator[str]:
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(part) as file:
            for batch in file.iter_batches(ROW_GROUP, columns=["path"]):
                yield from batch["path"].to_pylist()
    except (OSError, ValueError) as error:
        raise PneumoscopeError(f"{part} cannot be read: {error}. Delete it and read the shard again") from None


def _hash_paths(paths: Iterable[str]) -> tuple[int, str]:
    names = sorted(paths)
    return len(names), hashlib.sha256("\n".join(names).encode()).hexdigest()


def _digest(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest())
