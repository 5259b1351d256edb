"""OOD detection: usual images pass, turned and inverted ones are named, invalid inputs of other types are found."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pneumoscope.export.ood import fit_ood_detector
from pneumoscope.inference.ood import CHECKS, OODDetector, measure_pixels
from pneumoscope.phantoms.invalid_inputs import KINDS, make_invalid_inputs
from pneumoscope.phantoms.phantom import draw_phantoms


def extract(images):
    """Return brightness, edges and slopes of 8 x 8 cells, in place of the features of a network."""
    levels = images.astype(np.float32)
    levels = (levels - levels.mean((1, 2), keepdims=True)) / (levels.std((1, 2), keepdims=True) + 1)
    down, across = np.gradient(levels, axis=(1, 2))
    channels = np.stack([levels, levels**2, abs(down), abs(across), abs(down - across), abs(np.gradient(down, axis=1))])
    side = images.shape[1] // 8
    return channels.reshape(len(channels), len(images), 8, side, 8, side).mean((3, 5)).transpose(1, 2, 3, 0)


@pytest.fixture(scope="module")
def phantoms():
    return draw_phantoms(400, size=64, seed=3).images


@pytest.fixture(scope="module")
def detector(phantoms):
    return fit_ood_detector(phantoms[:250], phantoms[250:350], extract, detect_phantoms=False)


def test_usual_images_pass(detector, phantoms):
    checks = detector.check(phantoms[350:], extract(phantoms[350:]))

    assert np.mean([in_distribution for in_distribution, _, _ in checks]) > 0.9
    assert np.mean([rejected for _, rejected, _ in checks]) < 0.05


ORIENTED = {
    "inverted": "inverted",
    "turned by 90 degrees to the left": "rotated by 90 degrees to the left",
    "turned by 90 degrees to the right": "rotated by 90 degrees to the right",
    "turned by 180 degrees": "upside down",
    "mirrored top to bottom": "upside down",
}
BY_PIXELS = {
    "burnt out": "% of its pixels are white",
    "doubled brightness": "% of its pixels are white",
    "12-bit values wrapped to 8 bits": "wrap around",
    "12-bit values wrapped to 8 bits, then shrunk": "",
    "strong blur": "blurred",
    "small in a black frame": "",
    "nearly blank": "very low contrast",
    "gradient": "",
    "noise": "",
}


@pytest.mark.parametrize(("kind", "text"), (ORIENTED | BY_PIXELS).items())
def test_an_invalid_input_is_rejected_and_named(detector, phantoms, kind, text):
    inputs = make_invalid_inputs(phantoms[350:], kind, seed=9)
    checks = detector.check(inputs, extract(inputs))

    assert np.mean([rejected for _, rejected, _ in checks]) > 0.8
    assert np.mean([text in reason for _, _, reason in checks]) > 0.8


def test_only_orientations_and_phantoms_are_learned():
    learned = {name for name, kind in KINDS.items() if kind.learned}
    assert learned == {*ORIENTED, "mirrored left to right", "drawn phantom"}


def test_a_mirrored_image_is_never_rejected_for_that(detector, phantoms):
    mirrored = phantoms[350:, :, ::-1]
    spread = np.where(np.array(CHECKS) == "mirrored", 1e-6, np.inf)
    checks = replace(detector, spread=spread).check(mirrored, extract(mirrored))

    assert np.mean(["mirrored" in reason for _, _, reason in checks]) > 0.8
    assert not any(rejected for _, rejected, _ in checks)


def test_the_reason_states_the_measured_share(detector, phantoms):
    image = phantoms[350].copy()
    image[::3] = image[1::3][: len(image[::3])] = 255
    ((_, rejected, reason),) = detector.check(image[None], extract(image[None]))

    assert rejected
    assert any(f"{share:.0%}" in reason for share in (np.mean(image >= 250), np.mean(np.ptp(image, axis=1) == 0)))


def test_pixels_are_measured():
    steps = np.tile(np.array([0, 255], np.uint8), (4, 2))
    contrast, black, white, jumps, blur, noise, bars = measure_pixels(steps)

    assert (black, white, jumps, bars) == (0.5, 0.5, 1.0, 1.0)
    assert contrast == pytest.approx(-np.log(127.51))
    assert blur == -noise == pytest.approx(-np.log(255.01 / 127.51))


def test_a_detector_is_restored_from_its_arrays(detector, phantoms):
    arrays = {name: np.asarray(value) for name, value in detector.to_arrays().items()}
    restored, images = OODDetector.from_arrays(arrays), phantoms[:5]

    np.testing.assert_allclose(
        restored.score(images, extract(images)), detector.score(images, extract(images)), rtol=1e-4
    )
    with pytest.raises(ValueError, match=r"typical is \(13,\); expected \(14,\)"):
        OODDetector.from_arrays(arrays | {"typical": arrays["typical"][1:]})


def test_too_few_images_are_an_error(phantoms):
    with pytest.raises(ValueError, match="10 training"):
        fit_ood_detector(phantoms[:10], phantoms[10:20], extract)


def test_phantoms_among_other_images_are_flagged_and_named(phantoms):
    ground = gaussian_filter(np.random.default_rng(0).normal(size=(200, 64, 64)), (0, 9, 9))
    foggy = np.clip(phantoms[:200] / 2 + 900 * ground + 60, 0, 255).astype(np.uint8)
    detector = fit_ood_detector(foggy[:150], foggy[150:], extract)

    named, usual = (
        [reason for _, _, reason in detector.check(images, extract(images))] for images in (phantoms[350:], foggy)
    )
    assert np.mean(["phantom" in reason for reason in named]) > 0.25
    assert np.mean(["phantom" in reason for reason in usual]) < 0.05


def test_embeddings_serve_as_features(phantoms):
    def embed(images):
        return extract(images).reshape(len(images), -1)

    detector = fit_ood_detector(phantoms[:250], phantoms[250:350], embed, detect_phantoms=False)
    noise = make_invalid_inputs(phantoms[350:], "noise")

    assert all(rejected for _, rejected, _ in detector.check(noise, embed(noise)))
    assert np.mean([one[0] for one in detector.check(phantoms[350:], embed(phantoms[350:]))]) > 0.9


def test_equal_images_and_seed_give_an_equal_detector(phantoms):
    first, second = (
        fit_ood_detector(phantoms[:48], phantoms[48:60], extract, detect_phantoms=False, seed=4) for _ in range(2)
    )

    for name, values in first.to_arrays().items():
        np.testing.assert_array_equal(values, second.to_arrays()[name])
