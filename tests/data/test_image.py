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
    Image.fromarray(ramp).save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png")
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(np.rint(loaded * 255), ramp)


def test_sixteen_bit_png_keeps_its_depth(tmp_path: Path) -> None:
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    Image.fromarray(deep).save(tmp_path / "deep.png")
    loaded = load_image(tmp_path / "deep.png")
    np.testing.assert_allclose(loaded * 65535, deep, atol=0.01)
    assert len(np.unique(loaded)) == 64 * 64


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK", "L"])
def test_every_mode_gives_the_same_gray(tmp_path: Path, ramp: np.ndarray, mode: str) -> None:
    suffix = ".jpeg" if mode == "CMYK" else ".png"
    image = Image.fromarray(ramp)
    (image.convert("RGB").convert(mode) if mode == "CMYK" else image.convert(mode)).save(tmp_path / f"a{suffix}")
    loaded = load_image(tmp_path / f"a{suffix}")
    assert np.abs(loaded * 255 - ramp).mean() < 2


def test_exif_orientation_is_applied(tmp_path: Path, ramp: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    Image.fromarray(ramp).save(tmp_path / "a.jpeg", exif=exif)
    loaded = load_image(tmp_path / "a.jpeg")
    assert loaded.shape == (96, 64)
    assert loaded[0].mean() < 0.1 < 0.9 < loaded[-1].mean()


def test_a_large_jpeg_and_its_small_copy_give_nearly_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 30), dtype=np.uint8)).resize((1500, 1200))
    coarse.save(tmp_path / "large.jpeg", quality=95)
    coarse.resize((224, 224), Image.Resampling.BILINEAR).save(tmp_path / "small.jpeg", quality=95)
    large, small = (load_image(tmp_path / f"{name}.jpeg", size=128) for name in ("large", "small"))
    assert np.sqrt(np.square(large - small).mean()) * 255 < 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello, this is no image", "neither JPEG nor PNG"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "damaged|neither"),
    ],
)
def test_what_is_no_image_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.jpeg").write_bytes(content)
    with pytest.raises(ImageError, match=reason):
        load_image(tmp_path / "a.jpeg")


def test_odd_images_are_refused(tmp_path: Path, ramp: np.ndarray) -> None:
    Image.fromarray(ramp[:1, :1]).save(tmp_path / "dot.png")
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(tmp_path / "flat.png")
    frames = [Image.fromarray(ramp), Image.fromarray(ramp[::-1])]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:])
    for name, reason in [("dot", "1 x 1 pixels"), ("flat", "same gray level"), ("film", "animation of 2 frames")]:
        with pytest.raises(ImageError, match=reason):
            load_image(tmp_path / f"{name}.png")
    with pytest.raises(ImageError, match="does not exist"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="folder"):
        load_image(tmp_path)
