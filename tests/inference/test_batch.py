"""Batch prediction: files are listed and read in order, and an unreadable file does not stop the others."""

import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from pneumoscope.cli import main as cli
from pneumoscope.cli.read import _print
from pneumoscope.data.dicom import quiet_pydicom
from pneumoscope.errors import CollectionError
from pneumoscope.inference.batch import ReadBatch, find_files, map_batches, read_files
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.table import list_columns, read_table
from pneumoscope.pacs.reading_files import write_reading
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.fixture(scope="module")
def reader():
    return Reader.open(num_threads=1)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return a folder of ten phantoms, a text, an empty file and a rotated image."""
    folder = tmp_path_factory.mktemp("images")
    phantoms = draw_phantoms(10, size=256, seed=6).images
    for number, image in enumerate(phantoms):
        Image.fromarray(image).save(folder / f"{number:02d}.png")
    (folder / "10.png").write_text("no image")
    (folder / "11.jpeg").write_bytes(b"")
    Image.fromarray(np.rot90(phantoms[0])).save(folder / "12.jpeg", quality=95)
    return folder


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["pneumoscope", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    output = capsys.readouterr()
    return left.value.code or 0, output.out, output.err


def type_names(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(os.fsencode(text))))


def test_files_folders_globs_and_standard_input_are_found(tmp_path, write_image, monkeypatch):
    for name in ("b.PNG", "deep/a.jpg", "deep/__MACOSX/x.png", ".hidden/x.png", ".y.png"):
        write_image(name)
    (tmp_path / "notes.txt").write_text("x")
    type_names(monkeypatch, f"{tmp_path / 'b.PNG'}\n\n")

    def names(*arguments):
        return [os.path.relpath(path, tmp_path) for path in find_files([str(one) for one in arguments])]

    assert names(tmp_path) == ["b.PNG", "deep/a.jpg"]
    assert names(tmp_path / "deep" / "*.jpg") == ["deep/a.jpg"]
    assert names("-") == ["b.PNG"]
    assert names(tmp_path / "notes.txt", tmp_path / "gone.png") == ["notes.txt", "gone.png"]
    assert names(tmp_path, tmp_path / "b.PNG") == ["b.PNG", "deep/a.jpg"]
    with pytest.raises(CollectionError, match="no file in"):
        names(tmp_path / ".hidden" / "*.jpg")


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_each_file_gets_its_reading_in_order(reader, images, batch_size):
    paths = find_files([str(images)])
    readings = list(read_files(ReadBatch(reader), paths, batch_size=batch_size, num_workers=2))

    assert [reading.path for reading in readings] == paths
    assert [bool(reading.error) for reading in readings] == [False] * 10 + [True, True, False]
    assert "no image by its content" in readings[10].error
    assert "empty" in readings[11].error
    assert readings[12].decision == "rejected"


def test_the_last_batches_are_smaller():
    paths, sizes = [str(number) for number in range(50)], []

    def work(batch):
        sizes.append(len(batch))
        return batch

    assert list(map_batches(work, paths, batch_size=8, num_workers=2)) == paths
    assert max(sizes) == 8 and sizes.count(8) >= 3
    assert sorted(sizes)[:4] == [1, 1, 1, 1] and sum(sizes) == 50


def test_pictures_and_dicom_are_written(reader, images, tmp_path):
    render = partial(write_reading, heatmaps_dir=tmp_path / "heat", dicom_dir=tmp_path / "dicom")
    paths = find_files([str(images / "0[01].png"), str(images / "12.jpeg")])
    readings = list(read_files(ReadBatch(reader, render=render), paths))

    assert len(list((tmp_path / "dicom").iterdir())) == 6
    for reading in readings:
        with Image.open(reading.heatmap) as image:
            assert min(image.size) >= 640
    files = [*(tmp_path / "dicom").iterdir(), *(tmp_path / "heat").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "heat").stat().st_mode) == 0o700


def test_an_invalid_header_is_one_warning_without_its_value(reader, images, tmp_path, caplog):
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.SOPClassUID, source.Modality = ComputedRadiographyImageStorage, "CR"
    source.SOPInstanceUID = source.SeriesInstanceUID = source.StudyInstanceUID = "1.2.3"
    pixels = np.asarray(Image.open(images / "00.png"))
    source.set_pixel_data(pixels, "MONOCHROME2", 8, generate_instance_uid=False)
    path = tmp_path / f"{'n' * 250}.dcm"
    with quiet_pydicom():
        source.PatientID, source.PatientSex = "SECRET" * 12, "MALE"
        source.save_as(path, enforce_file_format=True)
    render = partial(write_reading, heatmaps_dir=tmp_path / "heat", dicom_dir=tmp_path / "dicom")
    (reading,) = read_files(ReadBatch(reader, render=render), [str(path)])

    assert reading.error is None and len(list((tmp_path / "dicom").iterdir())) == 2
    (record,) = caplog.records
    assert record.getMessage().startswith("missing or invalid elements of a DICOM header: 2 (")
    assert "SECRET" not in record.getMessage() and "MALE" not in record.getMessage()


def test_own_dicom_objects_are_passed_over(monkeypatch, capsys, images, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "t.csv"
    folder.mkdir()
    shutil.copy(images / "00.png", folder)
    assert run(monkeypatch, capsys, "read", folder, "--dicom-out", folder)[0] == 0
    code, _, err = run(monkeypatch, capsys, "read", folder, "--output", output)

    assert (code, len(list(read_table(output)))) == (0, 1)
    assert "passed over: 2 files, each a heatmap or report that Pneumoscope wrote" in err


def test_a_table_is_printed(monkeypatch, capsys, images):
    code, out, err = run(monkeypatch, capsys, "read", images / "00.png")

    (row,) = (line for line in out.splitlines() if "00.png" in line)
    assert (code, row.count("%")) == (0, 4)
    assert "Research use only" in out
    assert "1 file:" in err


@pytest.mark.parametrize(("decision", "shown"), [("pneumonia", True), ("normal", False), ("uncertain", False)])
def test_the_caution_on_labels_stands_below_the_positive_class_only(monkeypatch, capsys, reader, decision, shown):
    monkeypatch.setitem(reader.trust, "label_trust", "Be careful.")
    row = reader.refuse("a.png", "balanced", "").to_row()
    _print(iter([{**row, "error": None, "decision": decision}]), reader, as_json=False, shown=True)

    assert ("Be careful." in capsys.readouterr().out) is shown


def test_the_content_of_a_file_on_standard_input_is_an_error(monkeypatch):
    type_names(monkeypatch, "\xff\xd8\0JFIF")
    with pytest.raises(CollectionError, match="expected names of files, one per line"):
        find_files(["-"])


def test_a_table_on_disk_is_continued(monkeypatch, capsys, images, tmp_path):
    output = tmp_path / "t.csv"
    first = run(monkeypatch, capsys, "read", images / "00.png", "--output", output)
    rejected = run(monkeypatch, capsys, "read", images, "--output", output)
    second = run(monkeypatch, capsys, "read", images, "--output", output, "--resume")

    assert (first[0], rejected[0], second[0]) == (0, 2, 1)
    assert "--resume" in rejected[2]
    assert len(list(read_table(output))) == 13


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--operating-point", "often"], "expected screening"),
        (["--output", "t.xlsx"], "expected one of .csv"),
        (["--resume"], "expected --output"),
        (["--model", "nowhere"], "does not exist"),
    ],
)
def test_wrong_options_are_one_message(monkeypatch, capsys, images, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "read", images, *arguments)

    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.integration
def test_a_killed_run_keeps_its_finished_rows(images, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(300):
        (many / f"{number:03d}.png").symlink_to(images / f"{number % 10:02d}.png")
    output = tmp_path / "t.jsonl"
    command = [sys.executable, "-m", "pneumoscope.cli.main", "read", str(many), "--output", str(output)]
    process = subprocess.Popen([*command, "--batch-size", "4"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = tmp_path / "t.jsonl.partial"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (partial.exists() and partial.read_text().count("\n") >= 8):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = partial.read_text().count("\n")

    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=120)

    assert kept >= 8
    assert done.returncode == 0, done.stderr
    assert [row["path"] for row in read_table(output)] == [str(path) for path in sorted(many.iterdir())]


def test_reading_prints_json_lines_and_loads_no_keras(images):
    code = (
        "import sys\nfrom pneumoscope.cli.main import app\n"
        "code = app(['read', sys.argv[1], '--json'], standalone_mode=False)\n"
        "heavy = {'keras', 'tensorflow', 'torch', 'jax', 'pandas', 'sklearn', 'matplotlib', 'pydicom', 'scipy'}\n"
        "assert code == 1 and not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(images)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 13 and all(tuple(row) == list_columns(Reader.open().scored) for row in rows)
