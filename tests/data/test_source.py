"""Paths, bytes, streams and pipes give the same image."""

import io
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pneumoscope.data.image import load_gray
from pneumoscope.data.source import shorten_name
from pneumoscope.errors import ImageError

Maker = Callable[..., bytes]


@pytest.mark.parametrize("kind", ["DICOM", "PNG", "JPEG"])
def test_paths_bytes_and_streams_give_the_same(
    kind: str, tmp_path: Path, image: np.ndarray, make_dicom: Maker, make_png: Maker
) -> None:
    data = make_dicom(image) if kind == "DICOM" else make_png(image, kind)
    path = tmp_path / "image.anything"
    path.write_bytes(data)
    expected = load_gray(data)
    np.testing.assert_array_equal(load_gray(path), expected)
    np.testing.assert_array_equal(load_gray(str(path)), expected)
    with path.open("rb") as opened, tempfile.SpooledTemporaryFile(max_size=10) as spooled:
        spooled.write(data)
        for stream in (opened, io.BytesIO(data), spooled):
            for _ in range(2):
                np.testing.assert_array_equal(load_gray(stream, size=None), expected)
                assert not stream.closed
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb") as sender:
        threading.Thread(target=lambda: (sender.write(data), sender.close())).start()
        np.testing.assert_array_equal(load_gray(pipe), expected)


def test_a_text_stream_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_text("DICM")
    with (tmp_path / "a.dcm").open() as stream, pytest.raises(ImageError, match="binary"):
        load_gray(stream)  # type: ignore[arg-type]


def test_long_names_are_shortened_at_their_start() -> None:
    assert shorten_name("train/NORMAL/IM-0115-0001.jpeg", most=13) == "…115-0001.jpeg"
    assert shorten_name("a.jpeg", most=13) == "a.jpeg"
