"""Reading with Ray Data, against the same files read in threads. Each run is a process of its own."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.batch import ReadBatch, read_files
from pneumoscope.phantoms.phantom import draw_phantoms

BATCH_SIZE = 4
JOB = """
import sys
from pathlib import Path
from batches import KilledBy
from pneumoscope.inference.ray_data import read_with_ray

if __name__ == "__main__":
    paths = sorted(str(path) for path in Path("images").absolute().iterdir())
    counts = read_with_ray(
        KilledBy(), paths, Path("out"), num_workers=2, resume="--resume" in sys.argv, batch_size=int(sys.argv[1])
    )
    print(dict(counts))
"""
BATCHES = """
import os
import time
from pneumoscope.inference.batch import ReadBatch

class KilledBy(ReadBatch):
    def read(self, paths, contents=None):
        if any(path.endswith("poison.png") for path in paths):
            os.abort()
        if os.environ.get("SLOW"):
            time.sleep(1)
        return super().read(paths, contents)
"""


@pytest.fixture
def job(tmp_path):
    """Return a function that starts a job on 24 images in `tmp_path`."""
    if not find_spec("ray"):
        pytest.skip("ray is not installed")
    (tmp_path / "images").mkdir()
    for number, image in enumerate(draw_phantoms(24, size=192, seed=0).images):
        Image.fromarray(image).save(tmp_path / f"images/{number:02d}.png")
    (tmp_path / "batches.py").write_text(BATCHES)
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "home").mkdir()
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(paths)}

    def start(*words, **variables):
        return subprocess.Popen(
            [sys.executable, "job.py", str(BATCH_SIZE), *words],
            cwd=tmp_path,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def read_rows(folder):
    from pyarrow import dataset

    return sorted(dataset.dataset(folder, format="parquet").to_table().to_pylist(), key=lambda row: row["path"])


def wait_for_parts(folder, count):
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.parquet"))) < count + 1:  # beside the list of paths
        assert time.monotonic() < deadline
        time.sleep(0.1)


def find_actors(job):
    """Return the process numbers of the actors of a job."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::MapWorker" in path.read_bytes() and os.getsid(int(path.parent.name)) == job.pid:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.integration
def test_a_killed_worker_and_a_poison_file_cost_one_row(job, tmp_path):
    (tmp_path / "images/07.png").rename(tmp_path / "images/poison.png")
    running = job(SLOW="1")
    wait_for_parts(tmp_path / "out", 1)
    (victim, *_) = find_actors(running)
    os.kill(victim, signal.SIGKILL)
    output, error = running.communicate(timeout=240)
    assert running.returncode == 0, error[-3000:]
    rows = read_rows(tmp_path / "out")
    paths = sorted(str(path) for path in (tmp_path / "images").iterdir())
    assert [row["path"] for row in rows] == paths and "'unreadable': 1" in output
    expected = [
        reading.to_row() for reading in read_files(ReadBatch(), [path for path in paths if "poison" not in path])
    ]
    *others, poisoned = rows
    # The last digits depend on the size of a batch.
    for row, wanted in zip(others, expected, strict=True):
        numbers = {name: value for name, value in wanted.items() if isinstance(value, float)}
        assert {name: row[name] for name in numbers} == pytest.approx(numbers, abs=2e-4)
        assert (row["path"], row["decision"], row["error"]) == (wanted["path"], wanted["decision"], None)
    assert "the file ended the process" in poisoned["error"]


@pytest.mark.integration
def test_a_killed_driver_is_continued(job, tmp_path):
    running = job(SLOW="1")
    wait_for_parts(tmp_path / "out", 2)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[!_]*.parquet")}
    again = job()
    error = again.communicate(timeout=120)[1]
    assert again.returncode == 1 and "holds a job already; add --resume" in error
    again = job("--resume")
    error = again.communicate(timeout=240)[1]
    assert again.returncode == 0, error[-3000:]
    rows = read_rows(tmp_path / "out")
    assert [row["path"] for row in rows] == sorted(str(path) for path in (tmp_path / "images").iterdir())
    kept = [path for path in (tmp_path / "out").glob("[!_]*.parquet") if path.name in before]
    assert len(kept) >= 1 and all(path.stat().st_mtime_ns == before[path.name] for path in kept)


def test_too_few_processors_are_an_error():
    from pneumoscope.inference.ray_data import check_processors

    check_processors(5, num_workers=2)
    with pytest.raises(PneumoscopeError, match=r"4 processors; 2 workers need 5.*at most 1 --workers"):
        check_processors(4, num_workers=2)
