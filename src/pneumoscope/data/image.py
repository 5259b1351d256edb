"""Load one radiograph as an array. Training and inference decode images with this code."""

import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from pneumoscope.data.dicom import is_dicom, load_dicom
from pneumoscope.data.dicom_gray import choose_range, rescale
from pneumoscope.data.remarks import Remarks
from pneumoscope.data.source import MAX_PIXELS, ImageSource, check_size, open_source, printable_name, read_all
from pneumoscope.errors import ImageError

ImageInput = ImageSource | Image.Image | NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "JPEG2000")

UNIFORM = 4 / 255  # range of gray levels of a row or column that belongs to a uniform bar
LARGEST_BAR = 0.25  # of the side
COLORED = 48  # difference of the color channels of a colored pixel
MAX_COLORED = 0.2  # share of colored pixels of a gray image, such as one with colored letters

_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_PREVIEW = 64
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"acTL", b"IDAT", b"IEND")  # those that matter for the pixels


def load_image(source: ImageInput, *, size: int | None = None) -> NDArray[np.uint8]:
    """Load a radiograph as 8-bit gray levels, the input of all models.

    The content of a file decides its format, not its name. EXIF orientation is applied, color is converted to luma
    (ITU-R BT.601), and alpha is dropped. DICOM gray levels are windowed as a viewer shows them, and MONOCHROME1 is
    inverted. Images of 16 bits that fill less than half of their range, as 12-bit values do, are stretched. With
    `size`, uniform bars at the sides are cropped, see `find_content`. Downsizing is anti-aliased (bilinear). A large
    JPEG file is first reduced by its decoder, to at least twice `size`; the difference is smaller than JPEG noise.

    Args:
        source: path or bytes of a DICOM, JPEG, PNG, TIFF, WebP, BMP or JPEG 2000 file, a PIL image, or a uint8 array of
            shape `(H, W)` or `(H, W, 3)` with 0 = black.
        size: side in pixels of the square to resize to. The aspect ratio is not kept. None keeps all pixels.

    Returns:
        `(H, W)` uint8 with 0 = black: air is dark, bone is bright.

    Raises:
        ImageError: if the file is missing, damaged, of another format or has several frames, if the array is not
            uint8, if a side has fewer than 16 pixels, if there are more than 40 megapixels (DICOM: 25), or if all
            pixels have the same gray level.
        ValueError: if `size` is not a positive integer.

    Example:
        >>> import numpy as np
        >>> import pneumoscope as ps
        >>> ramp = np.tile(np.arange(256, dtype="uint8"), (200, 1))
        >>> image = ps.load_image(ramp, size=128)
        >>> image.shape, image.dtype
        ((128, 128), dtype('uint8'))
    """
    return np.asarray(np.rint(load_gray(source, size=size) * 255), dtype=np.uint8)


def load_gray(source: ImageInput, *, size: int | None = None, remarks: Remarks | None = None) -> NDArray[np.float32]:
    """Load a radiograph as `(H, W)` float32 in [0, 1]; 16-bit images keep their depth.

    Args:
        source, size: see `load_image`.
        remarks: gets what is noticed on the way.
    """
    remarks = Remarks() if remarks is None else remarks
    if size is not None and (not isinstance(size, int | np.integer) or size < 1):
        raise ValueError(f"size is {size!r}; expected the side of a square in pixels, 1 or more, or None")
    if isinstance(source, np.ndarray):
        source = _wrap_array(source)
    with _report_damage():
        if isinstance(source, Image.Image):
            gray = _convert_pillow(source, size, remarks)
        else:
            with open_source(source) as stream:
                load = _load_dicom if is_dicom(stream) else _load_pillow
                gray = load(stream, size, remarks)
    if gray.min() == gray.max():
        raise ImageError("all pixels have the same gray level")
    return gray


def find_content(gray: NDArray[Any], white: float = 1.0) -> tuple[int, int, int, int]:
    """Return the part of an image inside of uniform bars: left, top, right and bottom, as `PIL.Image.crop` takes them.

    A bar is made of rows or columns whose gray levels differ by at most `UNIFORM`. Scanners and exports add them, more
    often to some classes than to others. At most `LARGEST_BAR` of the side is cropped at each side.

    Args:
        gray: `(H, W)` gray levels in [0, white].
        white: the highest gray level.

    Example:
        >>> image = np.zeros((100, 80))
        >>> image[10:, 5:] = np.random.default_rng(0).random((90, 75))
        >>> find_content(image)
        (5, 10, 80, 100)
    """
    top, bottom = (_count_uniform(rows, white) for rows in (gray, gray[::-1]))
    inside = gray[top : len(gray) - bottom].T
    left, right = (_count_uniform(columns, white) for columns in (inside, inside[::-1]))
    return left, top, len(inside) - right, len(gray) - bottom


def _count_uniform(rows: NDArray[Any], white: float) -> int:
    limit = int(LARGEST_BAR * len(rows))
    return next((number for number in range(limit) if np.ptp(rows[number]) > UNIFORM * white), limit)


def load_images(sources: ImageInput | Iterable[ImageInput], *, size: int) -> NDArray[np.uint8]:
    """Load one or many radiographs in threads, as `(n, size, size)` uint8. See `load_image`.

    Raises:
        ImageError: if an image cannot be read. The message names the image.
    """

    def load(numbered: tuple[int, ImageInput]) -> NDArray[np.uint8]:
        number, source = numbered
        try:
            return load_image(source, size=size)
        except ImageError as error:
            raise ImageError(f"{name_input(source) or f'image {number}'}: {error}") from None

    with ThreadPoolExecutor() as pool:
        images = list(pool.map(load, enumerate(list_inputs(sources))))
    return np.stack(images) if images else np.empty((0, size, size), np.uint8)


def is_one_input(sources: ImageInput | Iterable[ImageInput]) -> TypeGuard[ImageInput]:
    """Return whether `sources` is a single input and not an iterable of inputs."""
    if isinstance(sources, np.ndarray):
        return sources.dtype.kind not in "OU"  # an array of paths, such as a column of a table, is many inputs
    if isinstance(sources, str | bytes | bytearray | memoryview | os.PathLike | Image.Image):
        return True
    return hasattr(sources, "read") or not isinstance(sources, Iterable)


def list_inputs(sources: ImageInput | Iterable[ImageInput]) -> list[ImageInput]:
    """Return one or many inputs as a list."""
    return [sources] if is_one_input(sources) else list(cast(Iterable[ImageInput], sources))


def name_input(source: ImageInput) -> str:
    """Return the path of an image as printable text; empty for bytes, arrays and images without a file."""
    path = getattr(source, "filename", "") if isinstance(source, Image.Image) else source
    return printable_name(path) if isinstance(path, str | os.PathLike) else ""


def check_images(images: Any, *, size: int | None = None) -> None:
    """Check that an array holds images as models take them: `(n, H, W)` uint8.

    Args:
        images: the array.
        size: expected height and width; None allows all.

    Raises:
        ImageError: if the type, the number of dimensions or the size is another. The message names the fix.
    """
    _check_dtype(images)
    if images.ndim != 3 or (size is not None and images.shape[1:] != (size, size)):
        expected = "(n, H, W)" if size is None else f"(n, {size}, {size})"
        fix = "load each image with load_image(path, size=...) and join them with np.stack"
        raise ImageError(f"array of shape {images.shape}; expected {expected}: {fix}")


def _check_dtype(array: Any) -> None:
    if not isinstance(array, np.ndarray):
        raise ImageError(f"{type(array).__name__}; expected a uint8 array, 0 = black")
    if array.dtype == np.uint8:
        return
    given = f"{array.dtype} array"
    fix = "load_image(path), or scale to 0 to 255 and .astype('uint8')"
    if array.size and array.dtype.kind in "biuf":
        low, high = array.min(), array.max()
        given += f" from {low} to {high}"
        if array.dtype.kind == "f" and low >= 0 and high <= 1:
            given, fix = f"{array.dtype} array in [0, 1]", "(array * 255).astype('uint8')"
    raise ImageError(f"{given}; expected uint8, 0 = black: use {fix}")


def _wrap_array(array: NDArray[np.uint8]) -> Image.Image:
    _check_dtype(array)
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] == 3):
        many = "; for several images, pass a list of arrays" if array.ndim >= 3 else ""
        raise ImageError(f"array of shape {array.shape}; expected (H, W) or (H, W, 3){many}")
    check_size(array.shape[1], array.shape[0])
    return Image.fromarray(array)


def _load_dicom(stream: BinaryIO, size: int | None, remarks: Remarks) -> NDArray[np.float32]:
    gray = load_dicom(stream, remarks)
    remarks.height, remarks.width = gray.shape
    return gray if size is None else np.clip(_resize(gray, size, 1.0, remarks), 0, 1)


def _resize(gray: NDArray[Any], size: int, white: float, remarks: Remarks) -> NDArray[np.float32]:
    left, top, right, bottom = find_content(gray, white)
    content = gray[top:bottom, left:right]
    if content.shape != gray.shape:
        remarks.warn("bars_cropped")
    return np.asarray(Image.fromarray(content).resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32)


@contextmanager
def _report_damage() -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"more than {MAX_PIXELS // 1_000_000} megapixels") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise ImageError(f"damaged or unreadable: {error}") from None


def _load_pillow(stream: BinaryIO, size: int | None, remarks: Remarks) -> NDArray[np.float32]:
    stream.seek(0)
    start = stream.read(len(_PNG_START))
    try:
        return _open_pillow(stream, size, remarks)
    except ImageError:
        raise
    except UnidentifiedImageError:
        if start != _PNG_START:
            known = "expected DICOM, JPEG, PNG, TIFF, WebP, BMP or JPEG 2000"
            raise ImageError(f"no image by its content; {known}" if start else "empty file") from None
    except Exception:  # Pillow raises any type, also on damaged text beside intact pixels
        if start != _PNG_START:
            raise
    gray = _open_pillow(_drop_text_chunks(stream), size, remarks)
    remarks.warn("text_chunks_ignored")
    return gray


def _open_pillow(stream: BinaryIO, size: int | None, remarks: Remarks) -> NDArray[np.float32]:
    stream.seek(0)
    with Image.open(stream, formats=FORMATS) as image:
        check_size(*image.size)
        remarks.width, remarks.height = image.size
        if image.format == "JPEG" and image.mode != "L":
            with Image.open(stream, formats=FORMATS) as preview:
                preview.draft("RGB", (_PREVIEW, _PREVIEW))
                _check_color(preview, remarks)
        if size is not None:
            image.draft("L", (2 * size, 2 * size))
        return _convert_pillow(image, size, remarks)


def _drop_text_chunks(stream: BinaryIO) -> BinaryIO:
    """Return a PNG file without the chunks that do not matter for its pixels."""
    data = read_all(stream)
    kept, place = [_PNG_START], len(_PNG_START)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        if data[place + 4 : place + 8] in _PNG_CHUNKS:
            kept.append(data[place:end])
        place = end
    return io.BytesIO(b"".join(kept))


def _convert_pillow(image: Image.Image, size: int | None, remarks: Remarks) -> NDArray[np.float32]:
    check_size(*image.size)
    if not remarks.width:  # else it is the size before a JPEG decoder reduced the image
        remarks.width, remarks.height = image.size
    if image.mode == "F":
        raise ImageError("image of mode F (float); expected 8-bit or 16-bit integers, 0 = black, such as mode L")
    frames = getattr(image, "n_frames", 1)
    if image.format not in (None, "JPEG", "MPO") and frames > 1:
        raise ImageError(f"{frames} images in one {image.format} file; expected a single image")
    image.load()
    is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    upright = image if is_upright else ImageOps.exif_transpose(image)
    if upright.mode in _DEEP_MODES:
        gray, white = _scale_deep(np.asarray(upright), remarks), 1.0
    else:
        _check_color(upright, remarks)
        gray, white = np.asarray(upright.convert("L")), 255.0
    pixels = gray if size is None else _resize(gray, size, white, remarks)
    return pixels if white == 1 else pixels / np.float32(white)


def _scale_deep(pixels: NDArray[Any], remarks: Remarks) -> NDArray[np.float32]:
    """Return pixels of 16 bits or more as floats in [0, 1]."""
    white = 65535.0 if pixels.max() <= 65535 else float(pixels.max())
    low, high = choose_range(pixels, 0.0, white, remarks)
    return rescale(pixels, low, high)


def _check_color(image: Image.Image, remarks: Remarks) -> None:
    if image.mode in ("L", "LA", "1"):
        return
    colors = image if image.mode == "RGB" else image.convert("RGB")
    small = np.asarray(colors.resize((_PREVIEW, _PREVIEW), Image.Resampling.BOX))
    colored = float((np.ptp(small, axis=2) > COLORED).mean())
    if colored > MAX_COLORED:
        remarks.objections.append(f"{colored:.0%} of the image are colored; expected gray levels.")
