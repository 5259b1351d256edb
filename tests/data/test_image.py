from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumoscope.data.image import load_image
from pneumoscope.errors import ImageError


@pytest.fixture
def ramp() -> np.ndarray:
    """Return `(64, 96)` uint8, dark at the left and bright at the right."""
    return np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))


def test_gray_png_keeps_every_level(tmp_path: Path, ramp: np.ndarray) -> None:
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    for pixels, white in ((ramp, 255), (deep, 65535)):
        Image.fromarray(pixels).save(tmp_path / "a.png")
        loaded = load_image(tmp_path / "a.png")
        assert loaded.dtype == np.float32
        np.testing.assert_allclose(loaded * white, pixels, atol=0.01)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK", "L"])
def test_every_mode_gives_the_same_gray(tmp_path: Path, ramp: np.ndarray, mode: str) -> None:
    path = tmp_path / ("a.jpeg" if mode == "CMYK" else "a.png")
    Image.fromarray(ramp).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    assert np.abs(load_image(path) * 255 - ramp).mean() < 2


def test_exif_orientation_is_applied(tmp_path: Path, ramp: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    Image.fromarray(ramp).save(tmp_path / "a.jpeg", exif=exif)
    loaded = load_image(tmp_path / "a.jpeg")
    assert loaded.shape == (96, 64)
    assert loaded[0].mean() < 0.1 < 0.9 < loaded[-1].mean()


def test_large_jpeg_and_its_small_copy_give_nearly_the_same(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (24, 30), dtype=np.uint8)
    large = Image.fromarray(coarse).resize((1500, 1200))
    large.save(tmp_path / "large.jpeg", quality=95)
    large.resize((224, 224), Image.Resampling.BILINEAR).save(tmp_path / "small.jpeg", quality=95)
    first, second = (load_image(tmp_path / f"{name}.jpeg", size=128) for name in ("large", "small"))
    assert np.sqrt(np.square(first - second).mean()) * 255 < 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello, this is no image", "neither JPEG nor PNG"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "damaged|neither"),
    ],
)
def test_other_content_is_rejected(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        load_image(content)


def test_unsuitable_images_are_rejected(tmp_path: Path, ramp: np.ndarray) -> None:
    Image.fromarray(ramp[:1, :1]).save(tmp_path / "dot.png")
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(tmp_path / "flat.png")
    Image.fromarray(ramp).save(tmp_path / "two.png", save_all=True, append_images=[Image.fromarray(ramp[::-1])])
    reasons = {"dot.png": "1 x 1 pixels", "flat.png": "same gray level", "two.png": "animation of 2 frames"}
    reasons |= {"missing.png": "does not exist", "": "folder"}
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=reason):
            load_image(tmp_path / name)
