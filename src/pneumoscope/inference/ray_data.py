"""An archive read by Ray Data, on one machine or a cluster.

Ray distributes the paths of the files, never their pixels: each actor reads whole batches with `ReadBatch`. Each batch
becomes one Parquet file. Ray records the paths of a file beside it in two steps, so that a run which was stopped is
continued without a lost row and without a row twice.
"""

import hashlib
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.source import printable_name
from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.batch import ReadBatch
from pneumoscope.inference.processes import read_in_processes
from pneumoscope.io.json_file import parse_json, write_json
from pneumoscope.io.read import read_text
from pneumoscope.io.write import atomic_write, lock_file

if TYPE_CHECKING:
    import pyarrow as pa

# Names that begin with an underscore are not read as data by the readers of Parquet folders.
MANIFEST_NAME, PATHS_NAME, CHECKPOINT_NAME, LOCK_NAME = "_manifest.json", "_paths.parquet", "_checkpoint", "_lock"
# Ray itself and the filters of the checkpoint run beside the actors; with fewer processors Ray waits forever.
OTHER_CPUS = 3
TRIES = 3
_CAREFUL_BATCHES = 4  # batches that an actor may have been given when its process ended


@dataclass(frozen=True)
class Job:
    """What the output of one job was made from.

    Attributes:
        notice: that the output is for research use only.
        model, operating_point: of all rows.
        inputs: number of the files.
        inputs_sha256: SHA-256 of their paths in order, each followed by a line end.
    """

    notice: str
    model: str
    operating_point: str
    inputs: int
    inputs_sha256: str


class Actor:
    """Reads batches in an actor of Ray; a class, because Ray opens one per worker."""

    def __init__(self, read: ReadBatch) -> None:
        import ray

        self._read = read
        self._careful = _CAREFUL_BATCHES if ray.get_runtime_context().was_current_actor_reconstructed else 0

    def __call__(self, batch: "pa.Table") -> "pa.Table":
        """Return the rows of a batch with the column `path`.

        After a crash, batches are read in a child process, where a file that ends its process costs one row.
        """
        import pyarrow as pa

        if not self._careful:
            return self._read(batch)
        self._careful -= 1
        readings = read_in_processes(self._read, batch["path"].to_pylist(), batch_size=1, num_workers=1)
        return pa.Table.from_pylist([reading.to_row() for reading in readings], self._read.schema)


def read_with_ray(
    read: ReadBatch,
    paths: Iterable[str],
    folder: Path,
    *,
    num_workers: int,
    address: str | None = None,
    resume: bool = False,
    batch_size: int = 32,
) -> Counter[str]:
    """Read files with Ray Data, and return the number of rows by decision; `unreadable` counts files with an error.

    Args:
        read: what to read with. It is pickled: its model is a path or None.
        paths: the files, which every machine finds under the same path.
        folder: folder of the output; it holds one Parquet file per block of rows.
        num_workers: number of actors, each with one processor and its own models; 0 is as many as the cluster takes,
            or one per core of this machine.
        address: address of a cluster, `auto` for that of this machine; None starts one here, which listens on loopback.
        resume: whether to continue the job in `folder`. Rows with an error are not read again.
        batch_size: number of files per call.

    Raises:
        PneumoscopeError: if the cluster has too few processors, or the folder holds another job.
    """
    # No call leaves the cluster; Ray reads this when it is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    folder = folder.absolute()
    local: dict[str, Any] = {"num_cpus": (num_workers or os.cpu_count() or 1) + OTHER_CPUS, "include_dashboard": False}
    local |= {"_node_ip_address": "127.0.0.1"}
    ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **({} if address else local))
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    try:
        number = int(ray.cluster_resources().get("CPU", 0))
        num_workers = num_workers or max(1, number - OTHER_CPUS)
        check_processors(number, num_workers)
        with _lock(folder):
            _prepare(read, paths, folder, resume)
            _run(read, folder, num_workers, batch_size)
    finally:
        ray.shutdown()
    return count_decisions(folder)


def _run(read: ReadBatch, folder: Path, num_workers: int, batch_size: int) -> None:
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.data.checkpoint import CheckpointConfig

    context = DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    context.checkpoint_config = CheckpointConfig(
        id_column="path", checkpoint_path=str(folder / CHECKPOINT_NAME), delete_checkpoint_on_success=False
    )
    files = ray.data.read_parquet(str(folder / PATHS_NAME))
    rows = files.repartition(target_num_rows_per_block=batch_size).map_batches(
        Actor,
        fn_constructor_args=(read,),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ActorPoolStrategy(size=num_workers),
        num_cpus=1,
        max_task_retries=TRIES - 1,
    )
    rows.write_parquet(str(folder))


def count_decisions(folder: Path) -> Counter[str]:
    """Return the number of rows of a folder by decision, `unreadable` for those with an error."""
    from pyarrow import dataset

    counts: Counter[str] = Counter()
    for batch in dataset.dataset(folder, format="parquet").to_batches(columns=["error", "decision"]):
        rows = zip(batch["error"].to_pylist(), batch["decision"].to_pylist(), strict=True)
        counts.update("unreadable" if error else decision for error, decision in rows)
    return counts


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock the folder for this process.

    Raises:
        PneumoscopeError: if another process writes it, or if it holds other files.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    others = [path.name for path in folder.iterdir() if not path.name.startswith("_")]
    if others and not (folder / MANIFEST_NAME).exists():
        raise PneumoscopeError(f"{folder} holds other files, such as {others[0]}; expected a new folder as --output")
    with (folder / LOCK_NAME).open("w") as stream:
        if not lock_file(stream, wait=False):
            raise PneumoscopeError(f"another process writes {folder}; wait for it, or give another --output")
        yield


def _prepare(read: ReadBatch, paths: Iterable[str], folder: Path, resume: bool) -> None:
    """Write the paths and what the job is, or compare them with those of the job that is continued."""
    import pyarrow as pa
    from pyarrow import parquet

    manifest = folder / MANIFEST_NAME
    if manifest.exists() and not resume:
        raise PneumoscopeError(f"{folder} holds a job already; add --resume, or give another --output")
    schema, digest, number = pa.schema([("path", pa.string())]), hashlib.sha256(), 0
    remaining = iter(paths)
    with atomic_write(folder / PATHS_NAME, private=True) as path:  # an error keeps the file that is there
        with parquet.ParquetWriter(path, schema) as writer:
            while part := list(islice(remaining, 10_000)):
                if others := [name for name in part if printable_name(name) != name]:
                    raise PneumoscopeError(f"{printable_name(others[0])}: expected a name of printable letters for Ray")
                writer.write_table(pa.table({"path": part}, schema))
                digest.update("".join(f"{name}\n" for name in part).encode())
                number += len(part)
        job = Job(RESEARCH_USE_ONLY, read.reader.models.id, str(read.operating_point), number, digest.hexdigest())
        before = parse_json(Job, read_text(manifest)) if manifest.exists() else job
        if changes := [name for name, value in vars(job).items() if value != getattr(before, name)]:
            raise PneumoscopeError(
                f"{folder} holds a job with other values of {', '.join(changes)}; give another --output"
            )
    write_json(manifest, job)


def check_processors(number: int, num_workers: int) -> None:
    """Raise a `PneumoscopeError` if a cluster has too few processors for the workers."""
    if num_workers + OTHER_CPUS > number:
        raise PneumoscopeError(
            f"the cluster has {number} processors; {num_workers} workers need {num_workers + OTHER_CPUS}, as Ray needs "
            f"{OTHER_CPUS} beside them. Use at most {max(0, number - OTHER_CPUS)} --workers"
        )
