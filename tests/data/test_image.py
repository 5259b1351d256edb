import io
import os
import tempfile
import threading

import numpy as np
import pytest
from PIL import Image

from pneumoscope.data.image import check_images, find_content, load_gray, load_image, load_images
from pneumoscope.errors import ImageError


@pytest.fixture
def ramp():
    """Return `(64, 96)` uint8, dark at the left and bright at the right."""
    return np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))


def test_gray_png_keeps_every_level(tmp_path, ramp):
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    for pixels, white in ((ramp, 255), (deep, 65535)):
        Image.fromarray(pixels).save(tmp_path / "a.png")
        np.testing.assert_allclose(load_gray(tmp_path / "a.png") * white, pixels, atol=0.01)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK", "L"])
def test_every_mode_gives_the_same_gray(tmp_path, ramp, mode):
    path = tmp_path / ("a.jpeg" if mode == "CMYK" else "a.png")
    Image.fromarray(ramp).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    assert np.abs(load_gray(path) * 255 - ramp).mean() < 2


def test_exif_orientation_is_applied(tmp_path, ramp):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    Image.fromarray(ramp).save(tmp_path / "a.jpeg", exif=exif)
    loaded = load_gray(tmp_path / "a.jpeg")
    assert loaded.shape == (96, 64)
    assert loaded[0].mean() < 0.1 < 0.9 < loaded[-1].mean()


def test_large_jpeg_and_its_small_copy_give_nearly_the_same(tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (24, 30), dtype=np.uint8)
    large = Image.fromarray(coarse).resize((1500, 1200))
    large.save(tmp_path / "large.jpeg", quality=95)
    large.resize((224, 224), Image.Resampling.BILINEAR).save(tmp_path / "small.jpeg", quality=95)
    first, second = (load_gray(tmp_path / f"{name}.jpeg", size=128) for name in ("large", "small"))
    assert np.sqrt(np.square(first - second).mean()) * 255 < 3


def test_unsuitable_images_are_rejected(tmp_path, ramp):
    Image.fromarray(ramp[:1, :1]).save(tmp_path / "dot.png")
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(tmp_path / "flat.png")
    Image.fromarray(ramp).save(tmp_path / "two.png", save_all=True, append_images=[Image.fromarray(ramp[::-1])])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello, this is no image")
    reasons = {"dot.png": "1 x 1 pixels", "flat.png": "same gray level", "two.png": "2 images in one PNG file"}
    reasons |= {
        "empty.png": "empty file",
        "text.png": "no image by its content",
        "missing.png": "does not exist",
        "": "folder",
    }
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=reason):
            load_gray(tmp_path / name)


@pytest.mark.parametrize("size", [None, 24])
def test_all_inputs_give_the_same_pixels(tmp_path, ramp, size):
    path = tmp_path / "a.png"
    Image.fromarray(ramp).save(path)
    expected = load_image(path, size=size)
    assert expected.dtype == np.uint8
    if size is None:
        np.testing.assert_array_equal(expected, ramp)
    color = np.repeat(ramp[..., None], 3, axis=2)
    for source in (str(path), path.read_bytes(), Image.open(path), Image.fromarray(ramp), ramp, color, ramp[:, ::1]):
        np.testing.assert_array_equal(load_image(source, size=size), expected)


def test_a_given_pil_image_is_not_changed(tmp_path, ramp):
    Image.fromarray(ramp).resize((960, 640)).save(tmp_path / "a.jpeg")
    with Image.open(tmp_path / "a.jpeg") as image:
        load_image(image, size=16)
        assert image.size == (960, 640)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda ramp: ramp / np.float32(255), r"float32 array in \[0, 1\]; .* use \(array \* 255\).astype\('uint8'\)"),
        (lambda ramp: ramp.astype(np.float64), "float64 array from 0.0 to 255.0; expected uint8"),
        (lambda ramp: ramp.astype(np.int64), "int64 array from 0 to 255; expected uint8"),
        (lambda ramp: ramp > 9, "bool array"),
        (lambda ramp: np.repeat(ramp[..., None], 4, axis=2), r"shape \(64, 96, 4\); expected \(H, W\) or \(H, W, 3\)"),
        (lambda ramp: ramp[None], "pass a list of arrays"),
        (lambda ramp: ramp[0], "expected .H, W. or"),
        (lambda ramp: ramp[:0], "0 pixels; expected sides of 16 or more"),
        (lambda ramp: ramp * 0, "same gray level"),
        (lambda ramp: Image.fromarray(ramp.astype(np.float32)), "image of mode F"),
        (lambda ramp: ramp.tolist(), "list; expected a path, bytes, a PIL image or a uint8 array"),
        (lambda ramp: np.array(["a.png"]), "array; expected uint8"),
        (lambda ramp: None, "NoneType; expected a path"),
    ],
)
def test_wrong_arrays_are_rejected(ramp, change, reason):
    with pytest.raises(ImageError, match=reason):
        load_image(change(ramp))


def test_many_images_are_one_array(tmp_path, ramp, make_png):
    assert load_images([ramp, Image.fromarray(ramp)], size=16).shape == (2, 16, 16)
    assert load_images(ramp, size=16).shape == (1, 16, 16)
    assert load_images([], size=16).shape == (0, 16, 16)
    (tmp_path / "a.png").write_bytes(make_png(ramp))
    paths = np.array([tmp_path / "a.png", str(tmp_path / "a.png")])
    assert load_images(paths, size=16).shape == load_images(paths.astype(str), size=16).shape == (2, 16, 16)
    with pytest.raises(ImageError, match=r"missing\.png: the file does not exist"):
        load_images([ramp, tmp_path / "missing.png"], size=16)
    with pytest.raises(ImageError, match="image 1: float32"):
        load_images([ramp, ramp / np.float32(255)], size=16)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.zeros((2, 16, 16), np.float32), "float32 array"),
        (np.zeros((16, 16), np.uint8), r"shape \(16, 16\); expected \(n, 16, 16\)"),
        (np.zeros((2, 16, 16, 1), np.uint8), r"expected \(n, 16, 16\)"),
        (np.zeros((2, 32, 32), np.uint8), r"expected \(n, 16, 16\)"),
        ([[0]], "list; expected a uint8 array"),
    ],
)
def test_wrong_batches_are_rejected(images, reason):
    check_images(np.zeros((0, 16, 16), np.uint8), size=16)
    with pytest.raises(ImageError, match=reason):
        check_images(images, size=16)


@pytest.mark.parametrize("size", [0, -3, (128, 128), 1.5])
def test_a_wrong_size_is_not_blamed_on_the_image(ramp, size):
    with pytest.raises(ValueError, match="expected the side of a square in pixels"):
        load_image(ramp, size=size)


@pytest.mark.parametrize("kind", ["DICOM", "PNG", "JPEG"])
def test_paths_bytes_and_streams_give_the_same(kind, tmp_path, image, make_dicom, make_png):
    data = make_dicom(image) if kind == "DICOM" else make_png(image, kind)
    path = tmp_path / "image.anything"
    path.write_bytes(data)
    expected = load_gray(data)
    np.testing.assert_array_equal(load_gray(path), expected)
    np.testing.assert_array_equal(load_gray(str(path)), expected)
    with path.open("rb") as opened, tempfile.SpooledTemporaryFile(max_size=10) as spooled:
        spooled.write(data)
        for stream in (opened, io.BytesIO(data), spooled):
            for _ in range(2):
                np.testing.assert_array_equal(load_gray(stream, size=None), expected)
                assert not stream.closed
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb") as sender:
        threading.Thread(target=lambda: (sender.write(data), sender.close())).start()
        np.testing.assert_array_equal(load_gray(pipe), expected)


def test_a_text_stream_is_an_error(tmp_path):
    (tmp_path / "a.dcm").write_text("DICM")
    with (tmp_path / "a.dcm").open() as stream, pytest.raises(ImageError, match="binary"):
        load_gray(stream)


def test_uniform_bars_are_cropped_before_the_resizing():
    content = np.random.default_rng(0).integers(0, 256, (120, 80), dtype=np.uint8)
    framed = np.pad(content, ((10, 0), (7, 20)), constant_values=30)
    assert find_content(framed, 255) == (7, 10, 87, 130)
    np.testing.assert_array_equal(load_image(framed, size=64), load_image(content, size=64))
    assert load_image(framed).shape == framed.shape
    mostly_blank = np.zeros((100, 100), np.uint8)
    mostly_blank[40:60, 40:60] = content[:20, :20]
    assert find_content(mostly_blank, 255) == (25, 25, 75, 75)
