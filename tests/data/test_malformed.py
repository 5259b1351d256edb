"""Several hundred damaged, odd or hostile files beside twelve good ones: none may stop a run, none may go unnamed."""

import io
import json
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from pneumoscope.data.audit import audit_dataset
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.source import printable_name
from pneumoscope.errors import CollectionError
from pneumoscope.phantoms.phantom import draw_phantoms

FOLDER = "train/PNEUMONIA"
SIZE = 64
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@dataclass(frozen=True)
class Case:
    """One file to be met.

    Attributes:
        name: file name as the operating system keeps it, in bytes.
        make: writes it, given its path.
        fate: `left out`, `read`, or `either` where both are right (a flipped bit may do no harm).
    """

    name: bytes
    make: Callable[[Path], object]
    fate: str


def draw_film(seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 11), dtype=np.uint8))
    return coarse.resize((96, 80), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_file(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def make_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(width: int, height: int, raw: bytes, *, depth: int = 8, color: int = 0, extra: bytes = b"") -> bytes:
    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    body = make_chunk(b"IDAT", zlib.compress(raw, 1)) + make_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + extra + body


def declare_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def list_truncated() -> Iterator[Case]:
    for kind, suffix in (("JPEG", "jpeg"), ("PNG", "png")):
        data = encode(draw_film(), kind)
        for number, length in enumerate(np.linspace(1, len(data) * 0.95, 45).astype(int)):
            yield Case(f"cut-{kind}-{number}.{suffix}".encode(), as_file(data[:length]), "left out")
        for less in (1, 2, 5, 12):
            yield Case(f"short-{kind}-{less}.{suffix}".encode(), as_file(data[:-less]), "either")


def list_flipped() -> Iterator[Case]:
    rng = np.random.default_rng(7)
    for kind, suffix in (("JPEG", "jpeg"), ("PNG", "png")):
        data = encode(draw_film(), kind)
        for number in range(50):
            flipped = bytearray(data)
            for place in rng.integers(0, len(data), 1 + number % 12):
                flipped[place] = int(rng.integers(0, 256))
            yield Case(f"flip-{kind}-{number}.{suffix}".encode(), as_file(bytes(flipped)), "either")
        for number in range(10):
            garbage = data[:20] + rng.bytes(400 + number)
            yield Case(f"garbage-{kind}-{number}.{suffix}".encode(), as_file(garbage), "left out")


def list_other_content() -> Iterator[Case]:
    film = draw_film()
    frames = [draw_film(seed) for seed in (1, 2)]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("film.jpeg", encode(film, "JPEG"))
    arrays = io.BytesIO()
    np.save(arrays, np.full((64, 64), np.nan, np.float16))
    nan = np.full((64, 64), np.nan, np.float32)
    nan[:32] = 0.5
    contents = {
        "empty": b"",
        "one-byte": b"\xff",
        "newline": b"\n",
        "zeros": bytes(5000),
        "text": b"This is a radiograph, honestly.\n" * 40,
        "html": b"<!doctype html><title>404</title>",
        "json": json.dumps({"image": [1, 2, 3]}).encode(),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'/>",
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "zip": archive.getvalue(),
        "dicom": bytes(128) + b"DICM" + bytes(200),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "npy-nan": arrays.getvalue(),
        "gif": encode(film, "GIF"),
        "gif-animated": encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "webp": encode(film, "WEBP"),
        "webp-animated": encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "png-animated": encode(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "bmp": encode(film, "BMP"),
        "tiff": encode(film, "TIFF"),
        "tiff-nan": encode(Image.fromarray(nan), "TIFF"),
        "tiff-infinite": encode(Image.fromarray(np.full((64, 64), np.inf, np.float32)), "TIFF"),
        "ppm": encode(film, "PPM"),
        "jpeg2000-magic": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(60),
        "png-magic": b"\x89PNG\r\n\x1a\n",
        "jpeg-magic": b"\xff\xd8\xff",
    }
    for name, data in contents.items():
        for suffix in ("png", "jpeg"):
            yield Case(f"content-{name}.{suffix}".encode(), as_file(data), "left out")


def list_odd_sizes() -> Iterator[Case]:
    for width, height in ((1, 1), (1, 500), (500, 1), (2, 2), (15, 64), (64, 15), (15, 15), (3, 4000)):
        pixels = np.random.default_rng(width).integers(0, 256, (height, width), dtype=np.uint8)
        for kind, suffix in (("PNG", "png"), ("JPEG", "jpeg")):
            data = encode(Image.fromarray(pixels), kind)
            yield Case(f"size-{width}x{height}.{suffix}".encode(), as_file(data), "left out")
    for number, (width, height) in enumerate(
        ((0, 0), (0, 64), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (2**32 - 1, 64), (100_000, 100_000), (9000, 9000))
    ):
        yield Case(f"huge-{number}.png".encode(), as_file(make_png(width, height, bytes(99))), "left out")
    jpeg = encode(draw_film(), "JPEG")
    for number, (width, height) in enumerate(((65535, 65535), (20_000, 20_000), (65535, 8), (0, 0), (64, 0))):
        data = declare_jpeg_size(jpeg, width, height)
        yield Case(f"huge-{number}.jpeg".encode(), as_file(data), "left out")
    bomb = make_png(12_000, 12_000, bytes(1501 * 12_000), depth=1)
    yield Case(b"bomb-pixels.png", as_file(bomb), "left out")
    text = make_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(80_000_000), 1))
    yield Case(b"bomb-text.png", as_file(make_png(64, 64, os.urandom(65 * 64), extra=text)), "left out")
    for level in (0, 128, 255):
        flat = Image.new("L", (64, 64), level)
        yield Case(f"flat-{level}.png".encode(), as_file(encode(flat, "PNG")), "left out")
        yield Case(f"flat-{level}.jpeg".encode(), as_file(encode(flat, "JPEG")), "left out")


def list_readable() -> Iterator[Case]:
    film = draw_film()
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        image = film.convert("RGBA").convert("P").convert("PA") if mode == "PA" else film.convert(mode)
        if mode != "PA":
            yield Case(f"mode-{mode}.png".encode(), as_file(encode(image, "PNG")), "read")
    for mode in ("CMYK", "YCbCr", "L"):
        image = film.convert("RGB").convert(mode)
        yield Case(f"mode-{mode}.jpeg".encode(), as_file(encode(image, "JPEG", progressive=True)), "read")
    deep = np.asarray(film).astype(np.uint16) * 257
    yield Case(b"deep.png", as_file(encode(Image.fromarray(deep), "PNG")), "read")
    yield Case(b"png-inside.jpeg", as_file(encode(film, "PNG")), "read")
    yield Case(b"jpeg-inside.png", as_file(encode(film, "JPEG")), "read")
    yield Case(b"UPPER.JPEG", as_file(encode(film, "JPEG")), "read")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(film, "JPEG", exif=exif)
        yield Case(f"turned-{orientation}.jpeg".encode(), as_file(data), "read")
    rng = np.random.default_rng(3)
    for number in range(12):
        garbage = b"Exif\0\0" + (b"MM\0*\0\0\0\x08" if number % 2 else b"") + rng.bytes(20 + 30 * number)
        yield Case(f"exif-{number}.jpeg".encode(), as_file(encode(film, "JPEG", exif=garbage)), "read")
    for number, value in enumerate((0, 9, 65535)):
        exif = Image.Exif()
        exif[0x0112] = value
        yield Case(f"exif-turn-{number}.png".encode(), as_file(encode(film, "PNG", exif=exif)), "read")
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "line\nline")
    yield Case(b"comment.png", as_file(encode(film, "PNG", pnginfo=info)), "read")
    yield Case(b"trailing.jpeg", as_file(encode(film, "JPEG") + bytes(1000)), "read")


def list_odd_names() -> Iterator[Case]:
    names = [
        "emoji-🫁.jpeg",
        "العربية.jpeg",
        "combining-e\u0301.jpeg",
        "right-to-left-\u202egepj.jpeg",
        "zero-\u200bwidth.jpeg",
        "new\nline.jpeg",
        "tab\there.jpeg",
        "carriage\rreturn.jpeg",
        "escape\x1b[31m.jpeg",
        "-rf.jpeg",
        "a b  c .jpeg",
        "quote'\".jpeg",
        "percent%s%n.jpeg",
        "brace{0}.jpeg",
        "back\\slash.jpeg",
        "<script>.jpeg",
        "$(id);`id`.jpeg",
        "comma,semi;.jpeg",
        "#hash?query.jpeg",
        "x" * 250 + ".jpeg",
        "..jpeg.jpeg",
    ]
    encoded = [*map(str.encode, names), b"latin-\xe9\xff.jpeg", b"\xed\xa0\x80surrogate.jpeg"]
    for number, name in enumerate(encoded):
        if name.startswith(b"."):
            continue
        yield Case(name, as_file(encode(draw_film(number), "JPEG")), "read")
        if len(name) < 200:
            yield Case(b"bad-" + name, as_file(b""), "left out")


def list_no_files() -> Iterator[Case]:
    yield Case(b"folder.jpeg", lambda path: path.mkdir(), "left out")
    yield Case(b"broken-link.jpeg", lambda path: path.symlink_to("nowhere.jpeg"), "left out")
    yield Case(b"loop.jpeg", lambda path: path.symlink_to("loop.jpeg"), "left out")
    yield Case(b"loop-a.png", lambda path: path.symlink_to("loop-b.png"), "left out")
    yield Case(b"loop-b.png", lambda path: path.symlink_to("loop-a.png"), "left out")
    yield Case(b"pipe.jpeg", os.mkfifo, "left out")
    yield Case(b"socket.jpeg", open_socket, "left out")
    yield Case(b"device.jpeg", lambda path: path.symlink_to("/dev/zero"), "left out")
    yield Case(b"null.jpeg", lambda path: path.symlink_to("/dev/null"), "left out")
    if not IS_ROOT:
        yield Case(
            b"locked.jpeg", lambda path: (path.write_bytes(encode(draw_film(), "JPEG")), path.chmod(0)), "left out"
        )


def open_socket(path: Path) -> None:
    """Leave a socket at `path`, whose name may be too long to bind it there directly."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def list_cases() -> list[Case]:
    lists = (list_truncated, list_flipped, list_other_content, list_odd_sizes, list_readable, list_odd_names)
    return [case for cases in (*lists, list_no_files) for case in cases()]


@dataclass(frozen=True)
class Met:
    """What came of it: the cases, the good files alone, and all together."""

    cases: list[Case]
    alone: Dataset
    together: Dataset

    def name_of(self, case: Case) -> str:
        return printable_name(f"{FOLDER}/{os.fsdecode(case.name)}")


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Met:
    root = tmp_path_factory.mktemp("films")
    folder = root / FOLDER
    folder.mkdir(parents=True)
    good = draw_phantoms(12, size=SIZE, seed=4).images
    for number, pixels in enumerate(good):
        Image.fromarray(pixels).save(folder / f"person{number + 1}_bacteria_{number + 1}.jpeg")
    alone = load_dataset(root, size=SIZE)
    cases = list_cases()
    for case in cases:
        case.make(folder / os.fsdecode(case.name))
    (folder / "loop").symlink_to(folder)
    (root / "up").symlink_to(root)
    together = load_dataset(root, size=SIZE)
    return Met(cases, alone, together)


def test_there_are_enough(met: Met) -> None:
    assert sum(case.fate != "read" for case in met.cases) >= 300
    assert len({case.name for case in met.cases}) == len(met.cases)


def test_good_files_are_all_kept_as_they_are(met: Met) -> None:
    assert len(met.alone) == 12
    row_of = {name: row for row, name in enumerate(met.together.table["name"])}
    rows = [row_of[name] for name in met.alone.table["name"]]
    np.testing.assert_array_equal(met.together.images[rows], met.alone.images)
    pd.testing.assert_frame_equal(met.together.select(np.array(rows)).table, met.alone.table)


def test_every_file_is_read_or_named_with_a_reason(met: Met) -> None:
    kept, reasons = set(met.together.table["name"]), dict(met.together.skipped.to_numpy().tolist())
    wrong = []
    for case in met.cases:
        name = met.name_of(case)
        fate = {(True, False): "read", (False, True): "left out"}.get((name in kept, name in reasons), "lost or twice")
        if fate not in (("read", "left out") if case.fate == "either" else (case.fate,)):
            wrong.append(f"{name!r}: {fate}, expected {case.fate} ({reasons.get(name, '')})")
    assert not wrong, "\n".join(wrong)


def test_reasons_say_something_on_one_line(met: Met) -> None:
    for name, reason in met.together.skipped.itertuples(index=False):
        assert len(reason) > 8 and "\n" not in reason and not reason.startswith("<"), (name, reason)
        assert name.isprintable(), name


def test_nothing_else_is_listed(met: Met) -> None:
    expected = {met.name_of(case) for case in met.cases} | set(met.alone.table["name"])
    assert set(met.together.table["name"]) | set(met.together.skipped["name"]) == expected
    assert len(met.together) + len(met.together.skipped) == len(expected)


def test_what_was_read_can_be_audited(met: Met) -> None:
    audit = audit_dataset(met.together)
    assert len(audit.unreadable) == len(met.together.skipped)
    json.dumps(audit.unreadable).encode()


def test_only_bad_files_are_an_error_that_names_them(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    (folder / "person1_virus_1.jpeg").write_bytes(b"no image")
    with pytest.raises(CollectionError, match=r"person1_virus_1\.jpeg: neither JPEG nor PNG"):
        load_dataset(tmp_path)
