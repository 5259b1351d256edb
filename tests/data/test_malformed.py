"""Hundreds of damaged or hostile files beside twelve good ones: each is loaded, or listed with a reason."""

import contextlib
import io
import json
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from pneumoscope.data.audit import audit_dataset
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.source import printable_name
from pneumoscope.phantoms.phantom import draw_phantoms

FOLDER = "train/PNEUMONIA"
SIZE = 64
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


class Case(NamedTuple):
    """A file: its name, its bytes or what makes it, and its fate (`either`: a flipped bit may do no harm)."""

    name: bytes | str
    content: bytes | Callable[[Path], object]
    fate: str = "left out"


def draw_image(seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 11), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC)


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


JPEG, PNG = (encode(draw_image(), kind) for kind in ("JPEG", "PNG"))
BY_SUFFIX = {"jpeg": JPEG, "png": PNG}


def make_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(width, height, raw, *, depth=8, extra=b""):
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    body = make_chunk(b"IDAT", zlib.compress(raw, 1)) + make_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + body


def list_damaged():
    rng = np.random.default_rng(7)
    for suffix, data in BY_SUFFIX.items():
        for number, length in enumerate(np.linspace(1, len(data) * 0.95, 45).astype(int)):
            yield Case(f"cut-{number}.{suffix}", data[:length])
        for less in (1, 2, 5, 12):
            yield Case(f"short-{less}.{suffix}", data[:-less], "either")
        for number in range(50):
            flipped = bytearray(data)
            for place in rng.integers(0, len(data), 1 + number % 12):
                flipped[place] = int(rng.integers(0, 256))
            yield Case(f"flip-{number}.{suffix}", bytes(flipped), "either")
        for number in range(10):
            yield Case(f"garbage-{number}.{suffix}", data[:20] + rng.bytes(400 + number))


def list_other_content():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("image.jpeg", JPEG)
    contents = {
        "empty": b"",
        "newline": b"\n",
        "zeros": bytes(5000),
        "html": b"<!doctype html><title>404</title>",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "zip": archive.getvalue(),
        "dicom": bytes(128) + b"DICM" + bytes(200),
        "tiff-infinite": encode(Image.fromarray(np.full((64, 64), np.inf, np.float32)), "TIFF"),
        "jpeg2000-magic": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(60),
        "png-magic": b"\x89PNG\r\n\x1a\n",
        "jpeg-magic": b"\xff\xd8\xff",
    }
    contents |= {kind: encode(draw_image(), kind) for kind in ("GIF", "PPM")}
    frames = {"save_all": True, "append_images": [draw_image(2)]}
    contents |= {f"{kind}-animated": encode(draw_image(1), kind, **frames) for kind in ("GIF", "WEBP", "PNG")}
    yield from (Case(f"content-{name}.{suffix}", data) for name, data in contents.items() for suffix in BY_SUFFIX)


def list_sizes():
    for width, height in ((1, 1), (1, 500), (15, 64), (64, 15), (3, 4000)):
        pixels = np.random.default_rng(width).integers(0, 256, (height, width), dtype=np.uint8)
        for suffix in BY_SUFFIX:
            yield Case(f"size-{width}x{height}.{suffix}", encode(Image.fromarray(pixels), suffix))
    most = 2**31 - 1
    for width, height in ((0, 0), (0, 64), (most, most), (most, 1), (2**32 - 1, 64), (100_000, 100_000), (9000, 9000)):
        yield Case(f"huge-{width}x{height}.png", make_png(width, height, bytes(99)))
    start = JPEG.index(b"\xff\xc0") + 5
    for width, height in ((65535, 65535), (20_000, 20_000), (65535, 8), (0, 0), (64, 0)):
        declared = JPEG[:start] + struct.pack(">HH", height, width) + JPEG[start + 4 :]
        yield Case(f"huge-{width}x{height}.jpeg", declared)
    yield Case("bomb-pixels.png", make_png(12_000, 12_000, bytes(1501 * 12_000), depth=1))
    text = make_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(80_000_000), 1))
    yield Case("bomb-text.png", make_png(64, 64, os.urandom(65 * 64), extra=text))
    for suffix in BY_SUFFIX:
        yield Case(f"flat.{suffix}", encode(Image.new("L", (64, 64), 128), suffix))


def list_readable():
    image = draw_image()
    contents = {f"mode-{mode}.png": encode(image.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")}
    for mode in ("CMYK", "YCbCr", "L"):
        contents[f"mode-{mode}.jpeg"] = encode(image.convert("RGB").convert(mode), "JPEG", progressive=True)
    contents["deep.png"] = encode(Image.fromarray(np.asarray(image).astype(np.uint16) * 257), "PNG")
    contents |= {
        "png-inside.jpeg": PNG,
        "jpeg-inside.png": JPEG,
        "UPPER.JPEG": JPEG,
        "trailing.jpeg": JPEG + bytes(999),
    }
    for orientation in (*range(10), 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix in BY_SUFFIX:
            contents[f"turned-{orientation}.{suffix}"] = encode(image, suffix, exif=exif)
    rng = np.random.default_rng(3)
    for number in range(12):
        garbage = b"Exif\0\0" + (b"MM\0*\0\0\0\x08" if number % 2 else b"") + rng.bytes(20 + 30 * number)
        contents[f"exif-{number}.jpeg"] = encode(image, "JPEG", exif=garbage)
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "line\nline")
    contents["comment.png"] = encode(image, "PNG", pnginfo=info)
    others = {f"content-{kind}.{suffix}": kind for kind in ("WEBP", "BMP", "TIFF") for suffix in BY_SUFFIX}
    contents |= {name: encode(image, kind) for name, kind in others.items()}
    yield from (Case(name, data, "read") for name, data in contents.items())


def list_names():
    names = [
        *("emoji-🫁", "combining-e\u0301", "right-to-left-\u202egepj", "zero-\u200bwidth", "new\nline"),
        *("escape\x1b[31m", "-rf", "a b  c ", "quote'\"", "percent%s%n", "brace{0}", "back\\slash", "<script>"),
        *("$(id);`id`", "x" * 250),
    ]
    encoded = [*(f"{name}.jpeg".encode() for name in names), b"latin-\xe9\xff.jpeg", b"\xed\xa0\x80surrogate.jpeg"]
    for number, name in enumerate(encoded):
        yield Case(name, encode(draw_image(number), "JPEG"), "read")


def list_no_files():
    links = {"broken.jpeg": "nowhere.jpeg", "loop.jpeg": "loop.jpeg", "loop-a.png": "loop-b.png"}
    links |= {"loop-b.png": "loop-a.png", "device.jpeg": "/dev/zero", "null.jpeg": "/dev/null"}
    for name, target in links.items():
        yield Case(name, lambda path, target=target: path.symlink_to(target))
    yield Case("pipe.jpeg", os.mkfifo)
    yield Case("socket.jpeg", open_socket)
    if not IS_ROOT:
        yield Case("locked.jpeg", lambda path: (path.write_bytes(JPEG), path.chmod(0)))


def open_socket(path):
    """Leave a socket at `path`, whose name may be too long to bind it there directly."""
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)


class Loaded(NamedTuple):
    """The fate of each printable name, the good files alone, and all files together."""

    fates: dict[str, str]
    good: Dataset
    together: Dataset


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    folder = root / FOLDER
    folder.mkdir(parents=True)
    for number, pixels in enumerate(draw_phantoms(12, size=SIZE, seed=4).images, start=1):
        Image.fromarray(pixels).save(folder / f"person{number}_bacteria_{number}.jpeg")
    good = load_dataset(root, size=SIZE)
    lists = (list_damaged, list_other_content, list_sizes, list_readable, list_names, list_no_files)
    fates = {}
    for name, content, fate in (case for cases in lists for case in cases()):
        path = folder / os.fsdecode(name)
        path.write_bytes(content) if isinstance(content, bytes) else content(path)
        fates[printable_name(f"{FOLDER}/{os.fsdecode(name)}")] = fate
    (folder / "loop").symlink_to(folder)
    (root / "up").symlink_to(root)
    return Loaded(fates, good, load_dataset(root, size=SIZE))


def test_good_files_are_loaded_unchanged(loaded):
    assert len(loaded.good) == 12
    row_of = {name: row for row, name in enumerate(loaded.together.table["name"])}
    part = loaded.together.select(np.array([row_of[name] for name in loaded.good.table["name"]]))
    np.testing.assert_array_equal(part.images, loaded.good.images)
    pd.testing.assert_frame_equal(part.table, loaded.good.table)


def test_every_file_is_loaded_or_listed_with_a_reason(loaded):
    assert sum(fate != "read" for fate in loaded.fates.values()) >= 250
    actual = [(name, "read") for name in loaded.together.table["name"]]
    actual += [(name, "left out") for name in loaded.together.skipped["name"]]
    assert len(dict(actual)) == len(actual)
    expected = loaded.fates | dict.fromkeys(loaded.good.table["name"], "read")
    assert dict(actual).keys() == expected.keys()
    wrong = [(name, fate) for name, fate in actual if expected[name] not in (fate, "either")]
    assert not wrong


def test_reasons_are_one_printable_line(loaded):
    for name, reason in loaded.together.skipped.itertuples(index=False):
        assert len(reason) > 8 and "\n" not in reason and not reason.startswith("<"), (name, reason)
        assert name.isprintable(), name


def test_audit_lists_what_was_left_out(loaded):
    audit = audit_dataset(loaded.together)
    assert len(audit.unreadable) == len(loaded.together.skipped)
    json.dumps(audit.unreadable).encode()
