"""Invalid inputs: images other than upright frontal chest radiographs, to test the OOD detector.

The detector learns the orientation of images. No other type takes part in fitting it or in choosing its thresholds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class InvalidInput:
    """A type of invalid input.

    Attributes:
        change: maps a radiograph `(H, W)` uint8 to an invalid input of the same shape; None for phantoms.
        learned: whether the OOD detector learns to recognize this type.
    """

    change: Change | None
    learned: bool = False


def make_invalid_inputs(images: np.ndarray, kind: str, *, seed: int = 0) -> np.ndarray:
    """Return one invalid input per radiograph.

    Args:
        images: `(n, H, W)` uint8, upright frontal chest radiographs.
        kind: type of invalid input, a key of `KINDS`.
        seed: random seed.

    Returns:
        `(n, H, W)` uint8.
    """
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    change = KINDS[kind].change
    if change is None:
        from pneumoscope.phantoms.phantom import draw_phantoms  # imports pandas, which inference does not need

        phantoms = draw_phantoms(len(images), size=max(images.shape[1:]), seed=int(rng.integers(1 << 30)))
        return np.stack([_resize(image, images.shape[1:]) for image in phantoms.images])
    return np.stack([change(image, rng) for image in images])


def _resize(
    image: np.ndarray, shape: tuple[int, ...], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box))


def _tilt(image: np.ndarray, rng: np.random.Generator, *, low: float, high: float) -> np.ndarray:
    degrees = rng.uniform(low, high) * rng.choice([-1, 1])
    return np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR))


def _crop(image: np.ndarray, rng: np.random.Generator, *, low: float, high: float) -> np.ndarray:
    share = rng.uniform(low, high)
    height, width = image.shape
    left, top = rng.uniform(0, 1 - share, 2) * (width, height)
    return _resize(image, image.shape, (left, top, left + share * width, top + share * height))


def _crop_side(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape
    left = rng.choice([0, width / 2])
    return _resize(image, image.shape, (left, 0, left + width / 2, height))


def _imitate_lateral(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one lung, compressed horizontally on a dark background, as in a lateral view."""
    height, width = image.shape
    band = _resize(_crop_side(image, rng), (height, round(0.7 * width)))
    canvas = np.full_like(image, np.quantile(image, 0.02))
    canvas[:, round(0.15 * width) :][:, : band.shape[1]] = band
    return canvas


def _put_two(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape
    half = _resize(image, (height, width // 2))
    return np.concatenate([half, _resize(half, (height, width - width // 2))], axis=1)


def _put_small(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape
    small = _resize(image, (round(0.4 * height), round(0.4 * width)))
    canvas = np.zeros_like(image)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def _make_texture(image: np.ndarray, rng: np.random.Generator, *, low: float, high: float) -> np.ndarray:
    """Return noise with a power-law spectrum, as in natural images."""
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in image.shape), indexing="ij"))
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal(image.shape)) / frequency ** rng.uniform(low, high)
    texture = np.fft.ifft2(spectrum).real
    return np.asarray(np.clip(128 + 55 * texture / texture.std(), 0, 255), np.uint8)


def _make_shapes(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape
    canvas = Image.new("L", (width, height), int(rng.integers(256)))
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(3, 12)):
        left, top, right, bottom = (np.sort(rng.uniform(-0.2, 1.2, (2, 2)), axis=0) * [width, height]).ravel()
        draw = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        draw((left, top, right, bottom), fill=int(rng.integers(256)))
    return np.asarray(canvas)


def _make_gradient(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows, columns = (np.linspace(-1, 1, side) for side in image.shape)
    angle = rng.uniform(0, 2 * np.pi)
    slope = rows[:, None] * np.sin(angle) + columns * np.cos(angle)
    return np.asarray(np.clip(128 + 100 * slope + rng.normal(0, 3, image.shape), 0, 255), np.uint8)


def _make_page(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return lines of dark dots on a white background, like a printed page."""
    line = rng.integers(3, 9)
    printed = (np.arange(image.shape[0]) // line % 2 == 0)[:, None] & (rng.random(image.shape) < 0.5)
    return np.where(printed, 0, 255).astype(np.uint8)


def _map_gray(
    image: np.ndarray, rng: np.random.Generator, *, factor: float, offset: float, noise: float = 0
) -> np.ndarray:
    gray = offset + (image - 128.0) * factor + rng.normal(0, noise, image.shape)
    return np.clip(gray, 0, 255).astype(np.uint8)


def _cut(image: np.ndarray, rng: np.random.Generator, *, top: float, bottom: float) -> np.ndarray:
    height, width = image.shape
    return _resize(image, image.shape, (0, top * height, width, bottom * height))


def _wrap(image: np.ndarray, rng: np.random.Generator, *, enlarged: int) -> np.ndarray:
    """Return 12-bit values without their upper four bits, as `astype(uint8)` leaves them, at a multiple of the size."""
    large = Image.fromarray(image.astype(np.float32)).resize(
        (enlarged * image.shape[1], enlarged * image.shape[0]), Image.Resampling.BICUBIC
    )
    values = 16 * np.asarray(large) + rng.normal(0, 6, large.size[::-1])
    return _resize(np.clip(values, 0, 4095).astype(np.uint16).astype(np.uint8), image.shape)


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    radius = rng.uniform(0.02, 0.04) * image.shape[1]
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noisy = image + rng.normal(0, rng.uniform(40, 80), image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _put_four(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    small = _resize(image, (-(-image.shape[0] // 2), -(-image.shape[1] // 2)))
    return np.tile(small, (2, 2))[: image.shape[0], : image.shape[1]]


def _put_in_corner(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = (round(0.6 * side) for side in image.shape)
    canvas = np.zeros_like(image)
    rows = slice(0, height) if rng.random() < 0.5 else slice(-height, None)
    columns = slice(0, width) if rng.random() < 0.5 else slice(-width, None)
    canvas[rows, columns] = _resize(image, (height, width))
    return canvas


def _put_in_window(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a screenshot: the radiograph in a light window with title bar, buttons and a side panel."""
    height, width = image.shape
    canvas = Image.new("L", (width, height), 236)
    pen, bar, panel = ImageDraw.Draw(canvas), round(0.08 * height), round(rng.uniform(0.12, 0.3) * width)
    pen.rectangle((0, 0, width, bar), fill=int(rng.integers(40, 200)))
    for number in range(3):
        left = width - (number + 1) * bar
        pen.rectangle((left + bar // 4, bar // 4, left + 3 * bar // 4, 3 * bar // 4), fill=250)
    for top in range(2 * bar, height - bar, bar):
        pen.line((panel // 6, top, panel * rng.uniform(0.4, 0.9), top), fill=60, width=max(1, bar // 5))
    inside = (height - bar - bar // 2, width - panel - bar // 4)
    canvas.paste(Image.fromarray(_resize(image, inside)), (panel, bar))
    return np.asarray(canvas)


KINDS = {
    "turned by 90 degrees to the left": InvalidInput(lambda image, rng: np.rot90(image, 1), learned=True),
    "turned by 90 degrees to the right": InvalidInput(lambda image, rng: np.rot90(image, -1), learned=True),
    "turned by 180 degrees": InvalidInput(lambda image, rng: image[::-1, ::-1], learned=True),
    "mirrored top to bottom": InvalidInput(lambda image, rng: image[::-1], learned=True),
    "mirrored left to right": InvalidInput(lambda image, rng: image[:, ::-1], learned=True),
    "inverted": InvalidInput(lambda image, rng: 255 - image, learned=True),
    "inverted and turned": InvalidInput(lambda image, rng: 255 - np.rot90(image, 1)),
    "tilted by 10 to 20 degrees": InvalidInput(partial(_tilt, low=10, high=20)),
    "tilted by 22 to 70 degrees": InvalidInput(partial(_tilt, low=22, high=70)),
    "upper half": InvalidInput(partial(_cut, top=0, bottom=0.5)),
    "lower half": InvalidInput(partial(_cut, top=0.5, bottom=1)),
    "left or right half": InvalidInput(_crop_side),
    "a part of 3 to 6 tenths of the side": InvalidInput(partial(_crop, low=0.3, high=0.6)),
    "as from the side": InvalidInput(_imitate_lateral),
    "two radiographs side by side": InvalidInput(_put_two),
    "four radiographs": InvalidInput(_put_four),
    "small in a black frame": InvalidInput(_put_small),
    "in the corner of a black frame": InvalidInput(_put_in_corner),
    "screenshot of a window": InvalidInput(_put_in_window),
    "far too dark": InvalidInput(partial(_map_gray, factor=1, offset=-22)),
    "far too bright": InvalidInput(partial(_map_gray, factor=1, offset=278)),
    "burnt out": InvalidInput(partial(_map_gray, factor=3, offset=444)),
    "doubled brightness": InvalidInput(partial(_map_gray, factor=2, offset=256)),
    "nearly blank": InvalidInput(partial(_map_gray, factor=0.02, offset=200, noise=2)),
    "12-bit values wrapped to 8 bits": InvalidInput(partial(_wrap, enlarged=1)),
    "12-bit values wrapped to 8 bits, then shrunk": InvalidInput(partial(_wrap, enlarged=4)),
    "strong blur": InvalidInput(_blur),
    "heavy noise": InvalidInput(_add_noise),
    "noise": InvalidInput(lambda image, rng: rng.integers(0, 256, image.shape, dtype=np.uint8)),
    "texture as in nature": InvalidInput(partial(_make_texture, low=1.0, high=1.6)),
    "clouds": InvalidInput(partial(_make_texture, low=2.0, high=2.0)),
    "shapes": InvalidInput(_make_shapes),
    "gradient": InvalidInput(_make_gradient),
    "page of print": InvalidInput(_make_page),
    "drawn phantom": InvalidInput(None, learned=True),
}
