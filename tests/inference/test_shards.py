"""Archives in shards: each file is read once, whatever process ends, and parts of different runs are not joined."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from pneumoscope.cli import main as cli
from pneumoscope.errors import CollectionError, PneumoscopeError
from pneumoscope.inference.batch import ReadBatch, list_files, read_files
from pneumoscope.inference.processes import ENDED, TRIES, read_in_processes
from pneumoscope.inference.reading import Reading
from pneumoscope.inference.shards import Shard, check_sources, choose_shard, close_part, combine_parts, open_part
from pneumoscope.inference.table import read_table
from pneumoscope.phantoms.phantom import draw_phantoms

HEAD = {"model": "m-1", "operating_point": "balanced"}
SLURM = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "0"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Return a folder with 24 phantoms in three folders, one of them damaged."""
    folder = tmp_path_factory.mktemp("archive")
    for number, image in enumerate(draw_phantoms(24, size=128, seed=4).images):
        path = folder / f"patient-{number % 3}" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    (folder / "patient-0" / "00.png").write_bytes(b"damaged")
    return folder


def write_part(folder, index, paths, *, count=3, head=HEAD):
    with open_part(folder, Shard(index, count), head=head, scored=["normal"], resume=True) as table:
        for path in paths:
            table.add(Reading(path, head["operating_point"], head["model"], scored=("normal",)).to_row())
        table.finish()
    close_part(table)


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("3/128", {}, (3, 128)),
        ("3/128", SLURM, (3, 128)),
        ("/128", SLURM, (3, 128)),
        ("/128", {"JOB_COMPLETION_INDEX": "7"}, (7, 128)),
        (None, SLURM, (3, 8)),
        (None, SLURM | {"SLURM_ARRAY_TASK_MAX": "7"}, (3, 8)),
    ],
)
def test_the_shard_is_that_of_the_option_or_of_the_scheduler(text, environment, expected):
    shard = choose_shard(text, environment)

    assert (shard.index, shard.count) == expected


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("128/128", {}, "expected a number from 0 to 127"),
        ("3/0", {}, "INDEX/COUNT"),
        ("3", {}, "INDEX/COUNT"),
        ("/8", {}, "JOB_COMPLETION_INDEX"),
        (None, {"JOB_COMPLETION_INDEX": "7"}, "expected --shard"),
        ("/8", {"JOB_COMPLETION_INDEX": "x"}, "expected a number"),
        (None, SLURM | {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "8"}, "--array=0-127"),
        (None, SLURM | {"SLURM_ARRAY_TASK_MAX": "14"}, "--array=0-127"),  # every second task
    ],
)
def test_no_or_a_wrong_shard_is_an_error(text, environment, message):
    with pytest.raises(PneumoscopeError, match=message):
        choose_shard(text, environment)


def test_each_file_is_in_one_shard_wherever_the_folder_is(archive, tmp_path, monkeypatch):
    (tmp_path / "moved").symlink_to(archive)
    shards = [Shard(index, 4) for index in range(4)]
    here = [list(list_files([str(archive)], holds=shard.holds)) for shard in shards]
    monkeypatch.chdir(tmp_path)
    there = [list(list_files(["moved/"], holds=shard.holds)) for shard in shards]

    assert sorted(chain.from_iterable(here)) == list(list_files([str(archive)]))
    assert min(map(len, here)) > 0
    assert [{Path(path).name for path in paths} for paths in here] == [{Path(p).name for p in ps} for ps in there]


def test_the_memory_of_a_listing_does_not_grow_with_the_number_of_names(monkeypatch, tmp_path):
    @contextmanager
    def draw_entries(number):
        yield (SimpleNamespace(name=f"{row:08d}.dcm", is_dir=lambda: False) for row in range(number))

    peaks = []
    for number in (1_000, 20_000):
        monkeypatch.setattr("os.scandir", lambda _, number=number: draw_entries(number))
        tracemalloc.start()
        assert sum(1 for _ in list_files([str(tmp_path)], holds=lambda _: True)) == number
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] + 10_000


def test_no_file_at_all_is_an_error_and_an_empty_shard_is_not(write_image, tmp_path):
    write_image("set/a.png")
    (tmp_path / "empty").mkdir()

    assert list(list_files([str(tmp_path / "set")], holds=lambda _: False)) == []
    with pytest.raises(CollectionError, match="no file in"):
        list(list_files([str(tmp_path / "empty")], holds=lambda _: True))
    with pytest.raises(PneumoscopeError, match="does not exist"):
        check_sources([str(tmp_path / "gone")])
    with pytest.raises(PneumoscopeError, match="expected sources apart"):
        check_sources([str(tmp_path), str(tmp_path / "set")])
    check_sources([str(tmp_path / "set"), str(tmp_path / "empty"), "-", "*.png"])


def test_processes_read_the_same_values(archive):
    paths = [*list_files([str(archive)]), str(archive / "gone.png")]
    # A batch of another size changes the last digits.
    expected = list(read_files(ReadBatch(), paths, batch_size=4, num_workers=2))

    assert list(read_in_processes(ReadBatch(), paths, batch_size=4, num_workers=2)) == expected
    assert [bool(reading.error) for reading in expected].count(True) == 2


def test_a_file_that_ends_its_process_is_one_error_after_three_tries(archive, tmp_path, monkeypatch):
    """The decoder kills its process, as the system does where memory is short."""
    (tmp_path / "sitecustomize.py").write_text(
        f"""
import os, signal
from pneumoscope.data import decode

decode_file = decode.decode_file

def decode_or_die(source, **options):
    if source.endswith("05.png"):
        with open({str(tmp_path / "tries")!r}, "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return decode_file(source, **options)

decode.decode_file = decode_or_die
"""
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    paths = list(list_files([str(archive)]))[:8]
    paths = [*paths[:3], str(archive / "patient-2" / "05.png"), *paths[3:]]
    readings = list(read_in_processes(ReadBatch(), paths, batch_size=3, num_workers=1))

    assert [reading.path for reading in readings] == paths
    assert [reading.path for reading in readings if reading.error == ENDED] == [paths[3]]
    assert sum(reading.error is None for reading in readings) == 7
    assert (tmp_path / "tries").read_text() == "x" * (TRIES + 1)


def test_parts_are_joined(tmp_path):
    paths = [["c", "a"], [], ["b"]]
    for index in (0, 2):
        write_part(tmp_path / "parts", index, paths[index])
    with pytest.raises(PneumoscopeError, match=r"1 of 3 shards are missing in .*: 1\."):
        combine_parts(tmp_path / "parts", tmp_path / "all.csv")
    write_part(tmp_path / "parts", 1, paths[1])

    for name in ("all.csv", "all.parquet"):
        assert combine_parts(tmp_path / "parts", tmp_path / name) == 3
        assert [row["path"] for row in read_table(tmp_path / name)] == ["c", "a", "b"]
    with pytest.raises(PneumoscopeError, match="exists already"):
        combine_parts(tmp_path / "parts", tmp_path / "all.csv")


def test_a_part_that_is_begun_anew_is_missing(tmp_path):
    write_part(tmp_path, 0, ["a"], count=1)
    with open_part(tmp_path, Shard(0, 1), head=HEAD, scored=["normal"], resume=True):
        pass
    with pytest.raises(PneumoscopeError, match=r"1 of 1 shards are missing"):
        combine_parts(tmp_path, tmp_path / "all.csv")


@pytest.mark.parametrize(
    ("count", "head", "message"),
    [
        (3, {**HEAD, "model": "m-2"}, "several values of model: m-1, m-2"),
        (3, {**HEAD, "operating_point": "screening"}, "several values of operating point: balanced, screening"),
        (4, HEAD, "several values of count: 3, 4"),
    ],
)
def test_parts_of_other_settings_are_refused(tmp_path, count, head, message):
    write_part(tmp_path, 0, ["a"])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PneumoscopeError, match=message):
        write_part(tmp_path, 1, ["b"], count=count, head=head)
    assert sorted(tmp_path.iterdir()) == before


def test_a_path_in_two_parts_and_a_changed_part_are_refused(tmp_path):
    for index in range(3):
        write_part(tmp_path / "twice", index, ["a", f"b{index}"] if index < 2 else [])
        write_part(tmp_path / "changed", index, [f"b{index}"])
    write_part(tmp_path / "other", 1, ["c"])
    part = "part-00001-of-00003.parquet"
    (tmp_path / "other" / part).replace(tmp_path / "changed" / part)

    with pytest.raises(PneumoscopeError, match="1 files are in two parts, such as a;"):
        combine_parts(tmp_path / "twice", tmp_path / "all.csv")
    with pytest.raises(PneumoscopeError, match=f"{part} differs from its manifest"):
        combine_parts(tmp_path / "changed", tmp_path / "all.csv")


@pytest.mark.integration
def test_the_union_of_the_shards_is_one_run_though_one_is_killed(archive, tmp_path, monkeypatch):
    for number in range(60):
        (tmp_path / "set" / f"{number:03d}").mkdir(parents=True)
        source = archive / f"patient-{number % 3}" / f"{number % 24:02d}.png"
        (tmp_path / "set" / f"{number:03d}" / "image.png").symlink_to(source)
    command = [sys.executable, "-m", "pneumoscope.cli.main", "read", str(tmp_path / "set"), "--workers", "1"]
    command += ["--batch-size", "1"]

    def start(index):
        words = [*command, "--resume", "--output", f"{tmp_path / 'parts'}/", "--shard", f"{index}/8"]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def join(name):
        words = [*command[:4], "--combine", tmp_path / "parts", "--output", tmp_path / name]
        return subprocess.run(list(map(str, words)), capture_output=True, text=True)

    for index in range(8):
        process = start(index)
        if index == 3:
            partial = tmp_path / "parts" / "part-00003-of-00008.parquet.partial"
            while process.poll() is None and not (partial.exists() and partial.read_text().count("\n")):
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        process.communicate()
    missing = join("all.jsonl")
    assert (
        missing.returncode == cli.USER_ERROR
        and "1 of 8 shards are missing" in missing.stderr
        and ": 3." in missing.stderr
    )
    start(3).communicate()
    assert join("all.jsonl").returncode == 0
    subprocess.run([*command, "--output", str(tmp_path / "one.jsonl")], capture_output=True)

    rows, one = ({row["path"]: row for row in read_table(tmp_path / name)} for name in ("all.jsonl", "one.jsonl"))
    assert len(list(read_table(tmp_path / "all.jsonl"))) == len(rows) == 60
    assert rows == one
