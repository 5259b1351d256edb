"""Images for the browser: converted radiographs, thumbnails and phantoms."""

import base64
import io
from functools import cache, lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pneumoscope.data.dicom import is_dicom
from pneumoscope.data.image import find_content, load_gray
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import ImageError

MAX_SIDE = 2048
THUMBNAIL_SIDE = 256
NUM_PHANTOMS = 6
PHANTOM_SIZE = 512
PHANTOM_SEED = 7

_SHOWN_FORMATS = ("JPEG", "PNG")
_SHOWN_MODES = ("1", "L", "P", "RGB")


class PhantomImage(NamedTuple):
    """The class of a phantom, and its 8-bit grayscale PNG with a comment that it is synthetic."""

    label: str
    png: bytes


def convert_for_browser(content: bytes) -> str | None:
    """Return an image as PNG in a `data:` URL, or None if browsers show the file as the models receive it.

    Browsers do not for DICOM, more than 8 bits, alpha and CMYK.

    Args:
        content: of a file that `load_gray` accepts.
    """
    if not is_dicom(content):
        with Image.open(io.BytesIO(content), formats=_SHOWN_FORMATS) as image:
            if image.mode in _SHOWN_MODES and "transparency" not in image.info:
                return None
    png = _encode_png(load_gray(content), MAX_SIDE)
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def locate_content(content: bytes) -> list[float]:
    """Return the part of an image that the models see: left, top, right and bottom as shares of its sides."""
    gray = load_gray(content)
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


@cache
def render_phantoms() -> tuple[PhantomImage, ...]:
    """Return six phantoms, two of each class. The first call draws them."""
    # This import loads pandas, which other requests do not need.
    from pneumoscope.phantoms.phantom import COMMENT, draw_phantoms

    phantoms = draw_phantoms(NUM_PHANTOMS, size=PHANTOM_SIZE, seed=PHANTOM_SEED)
    order = np.argsort([KERMANY_LABELS.classes.index(label) for label in phantoms.labels], kind="stable")
    note = PngInfo()
    note.add_text("Comment", COMMENT)
    return tuple(
        PhantomImage(str(phantoms.labels[number]), _save_png(Image.fromarray(phantoms.images[number]), note))
        for number in order
    )


def _encode_png(gray: np.ndarray, max_side: int) -> bytes:
    image = Image.fromarray(np.rint(gray * 255).astype(np.uint8))
    image.thumbnail((max_side, max_side), Image.Resampling.BILINEAR, reducing_gap=None)
    return _save_png(image)


def _save_png(image: Image.Image, note: PngInfo | None = None) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG", pnginfo=note)
    return stream.getvalue()
