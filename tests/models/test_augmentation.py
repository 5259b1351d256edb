import numpy as np
import pytest

pytest.importorskip("cv2")

from pneumoscope.data.dataset import Dataset
from pneumoscope.models.augmentation import augment_images
from pneumoscope.models.settings import Augmentation

ALL = Augmentation(rotation=10, zoom=0.1, shift=0.1, flip=0.5, gamma=0.3, contrast=0.2, brightness=0.1, erase=0.3)


def test_the_seed_decides_the_images(phantoms: Dataset) -> None:
    images = phantoms.images[:4]
    first, second, other = (augment_images(images, ALL, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any(axis=(1, 2)).all()
    assert first.shape == images.shape
    assert first.dtype == np.uint8


def test_flip_mirrors(phantoms: Dataset) -> None:
    images = phantoms.images[:4]
    flipped = augment_images(images, Augmentation(flip=1.0), np.random.default_rng(0))
    np.testing.assert_array_equal(flipped, images[:, :, ::-1])


def test_pose_keeps_the_middle_within_the_shift() -> None:
    image = np.zeros((1, 128, 128), np.uint8)
    image[0, 62:66, 62:66] = 255
    ranges = Augmentation(rotation=15, zoom=0.1, shift=0.1)
    for seed in range(20):
        moved = augment_images(image, ranges, np.random.default_rng(seed))[0].astype(float)
        center = [(moved.sum(axis=axis) @ np.arange(128)) / moved.sum() for axis in (0, 1)]
        assert np.abs(np.array(center) - 63.5).max() < 0.1 * 128 + 1


def test_exposure_keeps_the_order_of_gray_levels() -> None:
    ramp = np.tile(np.arange(128, dtype=np.uint8) * 2, (1, 128, 1))
    for seed in range(10):
        changed = augment_images(
            ramp, Augmentation(gamma=0.4, contrast=0.3, brightness=0.1), np.random.default_rng(seed)
        )
        assert (np.diff(changed[0, 0].astype(int)) >= 0).all()


def test_blur_and_noise_keep_the_mean_level(phantoms: Dataset) -> None:
    images = np.repeat(phantoms.images[:2], 10, axis=0)
    changed = augment_images(images, Augmentation(blur=1.0, noise=0.02), np.random.default_rng(0))
    assert 0 < (changed != images).any(axis=(1, 2)).sum() < len(images)
    np.testing.assert_allclose(changed.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=3)


def test_a_share_of_the_images_gets_an_erased_rectangle() -> None:
    images = np.tile(np.arange(64, dtype=np.uint8) * 4, (400, 64, 1))
    changed = augment_images(images, Augmentation(erase=0.3, erase_share=0.25), np.random.default_rng(0))
    # A rectangle of less than one pixel changes nothing.
    assert 0.15 < (changed != images).any(axis=(1, 2)).mean() < 0.3
