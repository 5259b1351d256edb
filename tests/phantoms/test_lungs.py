"""Lungs and letters are found where they were drawn."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pneumoscope.phantoms.lungs import find_lungs
from pneumoscope.phantoms.markers import find_markers
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.fixture(scope="module")
def drawn():
    return draw_phantoms(60, size=128, seed=21)


@pytest.fixture(scope="module")
def lettered(drawn):
    """Return phantoms with an L of 8 x 6 pixels at the upper left, and where it is."""
    letter = np.zeros(drawn.images.shape, bool)
    letter[:, 12:20, 4:6] = letter[:, 18:20, 4:10] = True
    films = np.where(letter, 250, drawn.images // 2).astype(np.uint8)
    return films, letter


def overlap(first, second):
    """Return the Dice coefficient of each pair of masks."""
    return 2 * (first & second).sum(axis=(1, 2)) / (first.sum(axis=(1, 2)) + second.sum(axis=(1, 2)))


def test_true_lungs_of_phantoms_are_dark_and_hold_the_lesions(drawn):
    inside = np.array([film[lung].mean() for film, lung in zip(drawn.images, drawn.lungs, strict=True)])
    outside = np.array([film[~lung].mean() for film, lung in zip(drawn.images, drawn.lungs, strict=True)])

    assert np.mean(inside < outside - 10) > 0.9
    assert not (drawn.masks & ~drawn.lungs).any()
    assert np.all((drawn.lungs.mean(axis=(1, 2)) > 0.1) & (drawn.lungs.mean(axis=(1, 2)) < 0.5))


def test_lungs_are_found_in_sick_and_healthy_chests_alike(drawn):
    dice = overlap(find_lungs(drawn.images), drawn.lungs)

    for kind in ("normal", "bacterial", "viral"):
        assert dice[drawn.subtypes == kind].mean() > 0.88, kind
    assert dice.min() > 0.75


def test_exposure_does_not_move_the_lungs(drawn):
    darker = (drawn.images * 0.5).astype(np.uint8)

    assert overlap(find_lungs(darker), find_lungs(drawn.images)).mean() > 0.95


def test_the_size_of_the_image_does_not_matter():
    films = draw_phantoms(6, size=200, seed=4)
    found = find_lungs(films.images[:, :160])

    assert found.shape == (6, 160, 200)
    assert overlap(find_lungs(films.images), films.lungs).mean() > 0.85


def test_letters_are_found_and_lungs_are_none(lettered):
    films, letter = lettered
    found = find_markers(films)

    assert np.mean([mask[part].all() for mask, part in zip(found, letter, strict=True)]) > 0.9
    assert found.mean() < 0.02


def test_films_without_letters_have_few(drawn):
    assert find_markers(gaussian_filter(drawn.images, (0, 1, 1))).any(axis=(1, 2)).mean() < 0.1


@pytest.mark.parametrize("find", [find_lungs, find_markers])
def test_what_is_no_stack_of_images_is_refused(find):
    with pytest.raises(ValueError, match=r"\(n, H, W\) uint8"):
        find(np.zeros((64, 64)))
    assert find(np.zeros((0, 64, 64), np.uint8)).shape == (0, 64, 64)
