"""Lungs, markers and pasted opacities are where they were drawn."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import ImageError
from pneumoscope.phantoms.lungs import find_lungs
from pneumoscope.phantoms.markers import find_markers
from pneumoscope.phantoms.opacity import paste_opacity
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.fixture(scope="module")
def phantoms():
    return draw_phantoms(60, size=128, seed=21)


def measure_dice(first, second):
    return 2 * (first & second).sum(axis=(1, 2)) / (first.sum(axis=(1, 2)) + second.sum(axis=(1, 2)))


def test_lungs_of_phantoms_are_dark_and_hold_the_lesions(phantoms):
    pairs = list(zip(phantoms.images, phantoms.lungs, strict=True))
    assert np.mean([image[lung].mean() < image[~lung].mean() - 10 for image, lung in pairs]) > 0.9
    assert not (phantoms.masks & ~phantoms.lungs).any()
    assert np.all((phantoms.lungs.mean(axis=(1, 2)) > 0.1) & (phantoms.lungs.mean(axis=(1, 2)) < 0.5))


def test_lungs_are_segmented_in_every_class_and_exposure(phantoms):
    lungs = find_lungs(phantoms.images)
    dice = measure_dice(lungs, phantoms.lungs)
    for name in KERMANY_LABELS.classes:
        assert dice[phantoms.labels == name].mean() > 0.88, name
    assert dice.min() > 0.75
    assert measure_dice(find_lungs((phantoms.images * 0.5).astype(np.uint8)), lungs).mean() > 0.95


def test_lungs_are_segmented_in_images_of_any_size():
    phantoms = draw_phantoms(6, size=200, seed=4)
    assert find_lungs(phantoms.images[:, :160]).shape == (6, 160, 200)
    assert measure_dice(find_lungs(phantoms.images), phantoms.lungs).mean() > 0.85


def test_letters_are_markers_and_chests_are_not(phantoms):
    letter = np.zeros(phantoms.images.shape, bool)
    letter[:, 12:20, 4:6] = letter[:, 18:20, 4:10] = True  # an L of 8 x 6 pixels at the upper left
    markers = find_markers(np.where(letter, 250, phantoms.images // 2).astype(np.uint8))
    assert np.mean([mask[part].all() for mask, part in zip(markers, letter, strict=True)]) > 0.9
    assert markers.mean() < 0.02
    assert find_markers(gaussian_filter(phantoms.images, (0, 1, 1))).any(axis=(1, 2)).mean() < 0.1


@pytest.mark.parametrize("find", [find_lungs, find_markers])
def test_other_shapes_are_rejected(find):
    with pytest.raises(ImageError, match=r"expected \(n, H, W\)"):
        find(np.zeros((64, 64), np.uint8))
    assert find(np.zeros((0, 64, 64), np.uint8)).shape == (0, 64, 64)


def test_pasted_opacity_brightens_the_lung_within_its_mask():
    phantoms = draw_phantoms(12, size=96, seed=2)
    normals = phantoms.labels == "normal"
    images, lungs = phantoms.images[normals], phantoms.lungs[normals]
    pasted, masks = paste_opacity(images, num_lobes=1, seed=3)
    gains = pasted.astype(int) - images
    assert gains.min() >= 0
    for gain, mask, lung in zip(gains, masks, lungs, strict=True):
        assert gain[mask].mean() > 8 * gain[~mask].mean()
        assert (mask & lung).sum() > 0.7 * mask.sum()
        assert 0.005 < mask.mean() < 0.25
    np.testing.assert_array_equal(pasted, paste_opacity(images, num_lobes=1, seed=3)[0])


def test_no_opacity_is_pasted_without_lungs():
    pasted, masks = paste_opacity(np.full((1, 64, 64), 255, np.uint8))
    assert (pasted == 255).all()
    assert masks.shape == (1, 64, 64)
