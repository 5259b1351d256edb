"""One image file to one array: the only decoder, for training and for reading alike."""

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pneumoscope.errors import ImageError

FORMATS = ("JPEG", "PNG")
MIN_SIDE = 16
MAX_PIXELS = 80_000_000

_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def load_image(path: str | os.PathLike[str], *, size: int | None = None) -> np.ndarray:
    """Load a JPEG or PNG radiograph as grey levels.

    The format is told by the content, not by the name. EXIF orientation is applied. Color is
    weighted to luma (ITU-R BT.601), alpha is dropped, 16-bit gray keeps its depth. Down-sizing
    is anti-aliased (Pillow's bilinear); large JPEGs are first reduced by the decoder itself to no
    less than twice `size`, which is faster and changes the result by less than JPEG noise.

    Args:
        path: the file.
        size: side of the square to resize to, without keeping the aspect ratio; None keeps all pixels.

    Returns:
        `(H, W)` float32 in [0, 1], 0 = black.

    Raises:
        ImageError: if the file is no single JPEG or PNG image, is damaged, has a side under 16
            pixels or over 80 megapixels, or is of one gray level throughout.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            gray = _read_gray(image, size)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("the file does not exist (or is a broken link)") from None
    except PermissionError:
        raise ImageError("no permission to read the file") from None
    except IsADirectoryError:
        raise ImageError("a folder, not a file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except Image.UnidentifiedImageError:
        raise ImageError("empty file" if _is_empty(path) else "neither JPEG nor PNG by its content") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise ImageError(f"damaged or unreadable: {error}") from None
    if gray.min() == gray.max():
        raise ImageError("all pixels have the same gray level")
    return gray


def _is_empty(path: str | os.PathLike[str]) -> bool:
    return Path(path).stat().st_size == 0


def _read_gray(image: Image.Image, size: int | None) -> np.ndarray:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels; expected sides of {MIN_SIDE} or more")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels; expected {MAX_PIXELS // 1_000_000} megapixels or less")
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise ImageError(f"an animation of {image.n_frames} frames; expected a single image")  # type: ignore[attr-defined]
    if size is not None:
        image.draft("L", (2 * size, 2 * size))
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _DEEP_MODES:
        gray, white = Image.fromarray(np.asarray(upright).astype(np.float32)), 65535.0
    else:
        gray, white = upright.convert("L"), 255.0
    if size is not None:
        gray = gray.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(gray, dtype=np.float32) / np.float32(white)
