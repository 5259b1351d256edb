"""Files from anyone: pipes and devices, archives that claim too much, JSON that is none, and damaged stages."""

import errno
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pneumoscope.data.image import load_image
from pneumoscope.data.manifest import read_manifest
from pneumoscope.data.source import hash_file
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.io.archive import load_result, save_result
from pneumoscope.io.read import MAX_ARRAY_BYTES, decode_json, open_regular, read_arrays, read_text
from pneumoscope.io.results import Estimate, Leakage, LearningCurve
from pneumoscope.io.study_folder import Ledger, load_stages
from pneumoscope.models.settings_file import read_settings

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_is_an_error_and_blocks_nobody(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        for read in (open_regular, read_text, read_arrays, hash_file):
            with pytest.raises(OSError, match="a pipe, socket or device, not a regular file") as caught:
                read(path)
            assert caught.value.errno == errno.EINVAL
        for read in (load_image, load_result, read_settings, read_manifest):
            with pytest.raises(PneumoscopeError, match="a pipe, socket or device, not a regular file"):
                read(path)
    with pytest.raises(ImageError, match="a folder, not a file"):
        load_image(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "finite"),
        ("[-Infinity]", "finite"),
        ("1e999", "finite"),
        ("{", "Expecting"),
        (DEEP, "nested too deeply"),
        ('"\\ud800"', "surrogate"),
        ("9" * 5000, "digits"),
    ],
)
def test_json_that_no_program_writes_is_an_error(text, reason):
    with pytest.raises(ValueError, match=reason):
        decode_json(text)


def claim(shape, *, dtype="<f8", size=80):
    """Return an `.npz` file with one array whose header states `shape`, and `size` bytes of data."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": dtype, "fortran_order": False, "shape": shape})
    return pack(array.getvalue() + bytes(size))


def pack(content, name="result.npy"):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr(name, content)
    return archive.getvalue()


def encrypt(data):
    """Return a zip file whose first member is marked as encrypted."""
    changed = bytearray(data)
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[data.index(signature) + place] |= 1
    return bytes(changed)


def write_pickle():
    stream = io.BytesIO()
    np.savez(stream, result=np.array([{}], dtype=object))
    return stream.getvalue()


DAMAGED = {
    "4 TiB": claim((1 << 39,)),
    "negative": claim((-10,)),
    "more than stated": claim((3,)),
    "too much at once": pack(bytes(MAX_ARRAY_BYTES + 1)),
    "encrypted": encrypt(claim((10,))),
    "no array": pack(b"text"),
    "objects": write_pickle(),
    "not a zip": b"\x93NUMPY\1\0",
    "damaged data": claim((10,))[:60] + b"\xff" * 20 + claim((10,))[80:],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_archive_is_one_sentence(tmp_path, name):
    path = tmp_path / "a.npz"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match=r"^.+$"):
        read_arrays(path)
    with pytest.raises(PneumoscopeError, match=r"a\.npz cannot be read \(.+\); expected") as caught:
        load_result(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "Estimate", "fields": {"value": "high", "low": 0.0, "high": 1.0, "n": 3}},
        {"kind": "Estimate", "fields": {"value": 0.5}},
        {"kind": "Estimate", "fields": []},
        {"kind": ["Estimate"], "fields": {}},
        {"kind": "Estimate", "fields": {"value": 0.5, "low": 0.0, "high": 1.0, "n": 3, "__class__": 1}},
        {"kind": "LearningCurve", "fields": {"loss": 3}},
        {"kind": "LabelSet", "fields": {"classes": {"tuple": ["a", "a\x1b"]}}},
        {"array": ["a"]},
        {"tuple": 3},
    ],
)
def test_a_result_of_wrong_types_is_an_error(tmp_path, values):
    with (tmp_path / "a.npz").open("wb") as stream:
        np.savez(stream, result=np.array(json.dumps(values)))
    with pytest.raises(PneumoscopeError, match="expected a file that save_result wrote"):
        load_result(tmp_path / "a.npz")


def test_a_result_with_nan_is_loaded(tmp_path):
    estimate = Estimate(0.5, float("nan"), float("nan"), 4)
    leakage = Leakage(1, 0.5, {"accuracy": estimate}, {})
    save_result(leakage, tmp_path / "a.npz")
    assert repr(load_result(tmp_path / "a.npz")) == repr(leakage)


def test_a_damaged_stage_is_named_and_the_others_are_loaded(tmp_path):
    good = LearningCurve(*np.ones((4, 2)), chosen_epoch=1, seconds=2.0)
    save_result(good, tmp_path / "stages" / "leakage.npz")
    (tmp_path / "stages" / "audit.npz").write_bytes(DAMAGED["4 TiB"])
    stages, damaged = load_stages(tmp_path)
    assert list(stages) == ["leakage"]
    assert list(damaged) == ["audit"]
    assert "needs 4398046511104 bytes and has 80" in damaged["audit"]


@pytest.mark.parametrize(
    "text", [DEEP, "[]", '{"request": {}, "timing": 3, "left_out": {}}', '{"request": {}}', "\xff"]
)
def test_a_damaged_ledger_is_an_error(tmp_path, text):
    (tmp_path / "study.json").write_text(text, encoding="latin-1")
    with pytest.raises(PneumoscopeError, match=r"study\.json is damaged"):
        Ledger.open(tmp_path, resume=True)
