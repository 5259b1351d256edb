"""The look of an image: usual ones pass, turned and inverted ones are named, other pictures are refused."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pneumoscope.inference.ood import CAUSES, OODDetector, fit_ood_detector
from pneumoscope.phantoms.invalid_inputs import PHANTOM, make_invalid_inputs
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.fixture(scope="module")
def phantoms():
    return draw_phantoms(400, size=64, seed=3).images


@pytest.fixture(scope="module")
def domain(phantoms):
    return fit_ood_detector(phantoms[:250], phantoms[250:350], tell_drawn=False)


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
    again = OODDetector.from_arrays({name: np.asarray(value) for name, value in domain.to_arrays().items()})

    np.testing.assert_allclose(again.measure(phantoms[:5]), domain.measure(phantoms[:5]), rtol=1e-4)


def test_too_few_images_are_refused(phantoms):
    with pytest.raises(ValueError, match="10 training"):
        fit_ood_detector(phantoms[:10], phantoms[10:20])


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("tilted by 22 to 70 degrees", "tilted"),
        ("one half", "part of a frontal chest film"),
        ("as from the side", "another view"),
        ("shapes", "not look like a frontal chest film"),
        ("nearly blank", "hardly any contrast"),
    ],
)
def test_what_is_wrong_is_named(domain, phantoms, kind, told):
    verdicts = domain.judge(make_invalid_inputs(phantoms[350:], kind, seed=9))

    assert np.mean([refused for _, refused, _ in verdicts]) > 0.7
    assert np.mean([told in reason for _, _, reason in verdicts]) > 0.7


def test_a_film_of_the_wrong_exposure_is_flagged_and_not_refused(domain, phantoms):
    films = phantoms[350:]
    burnt = np.where(films > np.quantile(films, 0.7, axis=(1, 2), keepdims=True), 255, films).astype(np.uint8)
    verdicts = domain.judge(burnt)

    assert not any(in_domain for in_domain, _, _ in verdicts)
    assert np.mean(["plain white" in reason for _, _, reason in verdicts]) > 0.7


def test_drawings_are_told_where_they_are_not_the_usual(phantoms):
    ground = gaussian_filter(np.random.default_rng(0).normal(size=(200, 64, 64)), (0, 9, 9))
    foggy = np.clip(phantoms[:200] / 2 + 900 * ground + 60, 0, 255).astype(np.uint8)
    domain = fit_ood_detector(foggy[:150], foggy[150:])
    both = {"drawn": phantoms[350:], "foggy": foggy}

    told = {name: domain.name_causes(films)[:, CAUSES.index(PHANTOM)].mean() for name, films in both.items()}
    assert told["drawn"] > 0.6 > 0.3 > told["foggy"]
    assert not any(refused for _, refused, _ in domain.judge(foggy))


def test_a_net_of_other_causes_is_not_taken(domain):
    arrays = {name: np.asarray(value) for name, value in domain.to_arrays().items()}

    with pytest.raises(ValueError, match="a column for each of"):
        OODDetector.from_arrays(arrays | {"output": arrays["output"][:, 1:]})


def test_the_same_films_give_the_same_gate(phantoms):
    first, second = (fit_ood_detector(phantoms[:48], phantoms[48:60], tell_drawn=False, seed=4) for _ in range(2))

    for name, values in first.to_arrays().items():
        np.testing.assert_array_equal(values, second.to_arrays()[name])
