"""Invalid inputs: images other than upright frontal chest radiographs, to train and test the OOD detector.

The detector is trained on some types of invalid input. The others measure its generalization.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]

USUAL = "usual"
PHANTOM = "drawn"


@dataclass(frozen=True)
class InvalidInput:
    """A type of invalid input.

    Attributes:
        cause: class of the OOD detector, see `pneumoscope.inference.ood`; for test types, the closest class.
        change: maps a radiograph `(H, W)` uint8 to an invalid input of the same shape; None for phantoms.
        learned: whether the OOD detector is trained on this type.
    """

    cause: str
    change: Change | None
    learned: bool = True


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


def vary_radiograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a radiograph with a random rotation of up to 9 degrees, crop and exposure."""
    varied = _crop(_tilt(image, rng, low=0, high=9), rng, low=0.85, high=1.0)
    return np.asarray(np.rint(255 * (varied / 255.0) ** np.exp(rng.uniform(-0.5, 0.5))), np.uint8)


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


KINDS = {
    "inverted": InvalidInput("inverted", lambda image, rng: 255 - image),
    "turned by 90 degrees to the left": InvalidInput("left", lambda image, rng: np.rot90(image, 1)),
    "turned by 90 degrees to the right": InvalidInput("right", lambda image, rng: np.rot90(image, -1)),
    "turned by 180 degrees": InvalidInput("down", lambda image, rng: image[::-1, ::-1]),
    "mirrored top to bottom": InvalidInput("down", lambda image, rng: image[::-1]),
    "tilted by 22 to 70 degrees": InvalidInput("tilted", partial(_tilt, low=22, high=70)),
    "one half": InvalidInput("part", _crop_side),
    "a part of 3 to 6 tenths of the side": InvalidInput("part", partial(_crop, low=0.3, high=0.6)),
    "as from the side": InvalidInput("part", _imitate_lateral),
    "two radiographs side by side": InvalidInput("other", _put_two),
    "noise": InvalidInput("other", lambda image, rng: rng.integers(0, 256, image.shape, dtype=np.uint8)),
    "texture as in nature": InvalidInput("other", partial(_make_texture, low=1.0, high=1.6)),
    "shapes": InvalidInput("other", _make_shapes),
    "mirrored left to right": InvalidInput("mirrored", lambda image, rng: image[:, ::-1]),
    "drawn phantom": InvalidInput(PHANTOM, None),
    "inverted and turned": InvalidInput("inverted", lambda image, rng: 255 - np.rot90(image, 1), learned=False),
    "tilted by 10 to 20 degrees": InvalidInput("tilted", partial(_tilt, low=10, high=20), learned=False),
    "upper half": InvalidInput(
        "part", lambda i, rng: _resize(i, i.shape, (0, 0, i.shape[1], i.shape[0] / 2)), learned=False
    ),
    "small in a black frame": InvalidInput("other", _put_small, learned=False),
    "clouds": InvalidInput("other", partial(_make_texture, low=2.0, high=2.0), learned=False),
    "gradient": InvalidInput("other", _make_gradient, learned=False),
    "page of print": InvalidInput("other", _make_page, learned=False),
    "burnt out": InvalidInput("other", partial(_map_gray, factor=3, offset=444), learned=False),
    "far too dark": InvalidInput("other", partial(_map_gray, factor=1, offset=-22), learned=False),
    "nearly blank": InvalidInput("other", partial(_map_gray, factor=0.02, offset=200, noise=2), learned=False),
}
