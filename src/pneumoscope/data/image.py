"""One image file to one array: the only decoder, for training and inference."""

from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pneumoscope.data.dicom import is_dicom, load_dicom
from pneumoscope.data.source import MAX_PIXELS, ImageSource, check_size, open_source
from pneumoscope.errors import ImageError

FORMATS = ("JPEG", "PNG")

_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def load_image(source: ImageSource, *, size: int | None = None) -> np.ndarray:
    """Load a JPEG, PNG or DICOM radiograph as gray levels.

    The content decides the format, not the name. EXIF orientation is applied. Color is weighted to luma
    (ITU-R BT.601), alpha is dropped, 16-bit gray keeps its depth. A DICOM file is shown as a viewer would,
    MONOCHROME1 inverted (see `present_gray`), equal to a PNG of the same image. Downsizing is anti-aliased
    (Pillow's bilinear); the decoder first reduces large JPEGs to no less than twice `size`, which is faster and
    changes the result by less than JPEG noise.

    Args:
        source: path of the file, its bytes, or a binary stream, which is read from its beginning and left open.
        size: side of the square to resize to, without keeping the aspect ratio; None keeps all pixels.

    Returns:
        `(H, W)` float32 in [0, 1], 0 = black: air is dark and bone bright.

    Raises:
        ImageError: if the file is no single JPEG, PNG or DICOM image, is damaged, has a side under 16
            pixels or over 80 megapixels, or is of one gray level throughout.
    """
    with open_source(source) as stream:
        if not is_dicom(stream):
            gray = _load_pillow(stream, size)
        else:
            gray = load_dicom(stream)
            if size is not None:
                resized = Image.fromarray(gray).resize((size, size), Image.Resampling.BILINEAR)
                gray = np.clip(np.asarray(resized, dtype=np.float32), 0, 1)
    if gray.min() == gray.max():
        raise ImageError("all pixels have the same gray level")
    return gray


def load_pixels(source: ImageSource, *, size: int) -> np.ndarray:
    """Load a radiograph as `(size, size)` uint8, as the models take it; see `load_image`."""
    return np.asarray(np.rint(load_image(source, size=size) * 255), dtype=np.uint8)


def _load_pillow(stream: BinaryIO, size: int | None) -> np.ndarray:
    stream.seek(0)
    try:
        with Image.open(stream, formats=FORMATS) as image:
            return _read_gray(image, size)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except UnidentifiedImageError:
        stream.seek(0)
        raise ImageError("neither JPEG nor PNG nor DICOM by its content" if stream.read(1) else "empty file") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise ImageError(f"damaged or unreadable: {error}") from None


def _read_gray(image: Image.Image, size: int | None) -> np.ndarray:
    width, height = image.size
    check_size(width, height)
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
