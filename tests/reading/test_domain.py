"""The look of an image: usual ones pass, turned and inverted ones are named, other pictures are refused."""

import numpy as np
import pytest

from pneumoscope.radiographs.phantoms import draw_phantoms
from pneumoscope.reading.domain import Domain, fit_domain


@pytest.fixture(scope="module")
def phantoms():
    return draw_phantoms(400, size=64, seed=3).images


@pytest.fixture(scope="module")
def domain(phantoms):
    return fit_domain(phantoms[:250], phantoms[250:350])


def test_usual_films_pass(domain, phantoms):
    verdicts = domain.judge(phantoms[350:])

    assert np.mean([in_domain for in_domain, _, _ in verdicts]) > 0.9
    assert not any(refused for _, refused, _ in verdicts)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda images: 255 - images, "inverted"),
        (lambda images: np.rot90(images, 1, (1, 2)), "turned by a quarter to the left"),
        (lambda images: np.rot90(images, -1, (1, 2)), "turned by a quarter to the right"),
        (lambda images: images[:, ::-1, ::-1], "upside down"),
    ],
    ids=["inverted", "left", "right", "upside-down"],
)
def test_a_turned_film_is_refused_and_named(domain, phantoms, change, told):
    verdicts = domain.judge(change(phantoms[350:]))

    assert np.mean([refused and told in reason for _, refused, reason in verdicts]) > 0.9


def test_noise_is_no_chest_film(domain):
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64), dtype=np.uint8)

    assert all(refused and "frontal chest film" in reason for _, refused, reason in domain.judge(noise))


def test_exposure_does_not_matter(domain, phantoms):
    darker = (phantoms[350:] * 0.6).astype(np.uint8)

    np.testing.assert_allclose(domain.measure(darker), domain.measure(phantoms[350:]), rtol=0.1)


def test_it_survives_being_kept(domain, phantoms):
    again = Domain.from_arrays({name: np.asarray(value) for name, value in domain.to_arrays().items()})

    np.testing.assert_allclose(again.measure(phantoms[:5]), domain.measure(phantoms[:5]), rtol=1e-4)


def test_too_few_images_are_refused(phantoms):
    with pytest.raises(ValueError, match="10 training"):
        fit_domain(phantoms[:10], phantoms[10:20])
