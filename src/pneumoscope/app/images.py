"""Images for the browser: converted radiographs, thumbnails and phantoms."""

import base64
import io
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pneumoscope.data.dicom import is_dicom
from pneumoscope.data.image import FORMATS, find_content, load_gray
from pneumoscope.errors import ImageError

if TYPE_CHECKING:
    from pneumoscope.inference.reader import Reader

MAX_SIDE = 2048
THUMBNAIL_SIDE = 256
NUM_CANDIDATES = 12
MAX_EXAMPLES = 3  # phantoms of one decision
PHANTOM_SIZE = 512
PHANTOM_SEED = 1

_SHOWN_FORMATS = ("JPEG", "PNG")
_SHOWN_MODES = ("1", "L", "P", "RGB")


class PhantomImage(NamedTuple):
    """The decision for a phantom, if it was drawn of this class, and its 8-bit PNG with a comment."""

    label: str
    png: bytes


def convert_for_browser(content: bytes, gray: np.ndarray) -> str | None:
    """Return an image as PNG in a `data:` URL, or None if browsers show the file as the models receive it.

    Browsers do for JPEG and PNG, but not with more than 8 bits, alpha or CMYK.

    Args:
        content: of a file that `load_gray` accepts.
        gray: result of `load_gray`.
    """
    if not is_dicom(content):
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            is_plain = image.mode in _SHOWN_MODES and "transparency" not in image.info
            if image.format in _SHOWN_FORMATS and is_plain:
                return None
    png = _encode_png(gray, MAX_SIDE)
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def locate_content(gray: np.ndarray) -> list[float]:
    """Return the part of an image that the models see: left, top, right and bottom as shares of its sides."""
    height, width = gray.shape
    sides = zip(find_content(gray), (width, height, width, height), strict=True)
    return [round(place / side, 4) for place, side in sides]


@lru_cache(maxsize=512)
def draw_thumbnail(data_dir: Path, name: str) -> bytes:
    """Return the image of a reference case as a small PNG.

    Args:
        data_dir: folder of the training images.
        name: path of the file relative to it, as in `reference_cases.npz`.

    Raises:
        ImageError: if there is no such image in the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise ImageError("the path is outside the folder of the training images")
    return _encode_png(load_gray(data_dir / path), THUMBNAIL_SIDE)


def choose_phantoms(reader: "Reader") -> tuple[PhantomImage, ...]:
    """Return phantoms of each decision that the reader makes as they are drawn.

    If the reader has other classes or rejects phantoms, they have no label.
    """
    # This import loads pandas, which other requests do not need.
    from pneumoscope.phantoms.phantom import COMMENT, draw_phantoms

    phantoms = draw_phantoms(NUM_CANDIDATES, size=PHANTOM_SIZE, seed=PHANTOM_SEED)
    note = PngInfo()
    note.add_text("Comment", COMMENT)
    files = [save_png(Image.fromarray(image), note) for image in phantoms.images]
    decisions = [str(reading.decision) for reading in reader.predict(files)]
    chosen: dict[str, list[PhantomImage]] = {}
    for file, label, decision in zip(files, phantoms.labels.tolist(), decisions, strict=True):
        if decision in reader.scored and label in reader.label_set.members(decision):
            chosen.setdefault(decision, []).append(PhantomImage(decision, file))
    right = [image for name in reader.scored for image in chosen.get(name, [])[:MAX_EXAMPLES]]
    return tuple(right or [PhantomImage("", file) for file in files[: 2 * MAX_EXAMPLES]])


def _encode_png(gray: np.ndarray, max_side: int) -> bytes:
    levels = gray * np.float32(255)
    image = Image.fromarray(np.rint(levels, out=levels).astype(np.uint8))
    image.thumbnail((max_side, max_side), Image.Resampling.BILINEAR, reducing_gap=None)
    return save_png(image)


def save_png(image: Image.Image, note: PngInfo | None = None) -> bytes:
    """Return an image as the bytes of a PNG, compressed fast."""
    stream = io.BytesIO()
    image.save(stream, format="PNG", pnginfo=note, compress_level=1)
    return stream.getvalue()
