"""OOD detection: usual images pass, rotated and inverted ones are named, others are rejected."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pneumoscope.inference.ood import CAUSES, OODDetector, fit_ood_detector, standardize
from pneumoscope.phantoms.invalid_inputs import PHANTOM, make_invalid_inputs
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.fixture(scope="module")
def phantoms():
    return draw_phantoms(400, size=64, seed=3).images


@pytest.fixture(scope="module")
def detector(phantoms):
    return fit_ood_detector(phantoms[:250], phantoms[250:350], detect_phantoms=False)


def test_usual_images_pass(detector, phantoms):
    checks = detector.check(phantoms[350:])

    assert np.mean([in_distribution for in_distribution, _, _ in checks]) > 0.9
    assert not any(rejected for _, rejected, _ in checks)


ROTATIONS = {
    "inverted": lambda images: 255 - images,
    "rotated by 90 degrees to the left": lambda images: np.rot90(images, 1, (1, 2)),
    "rotated by 90 degrees to the right": lambda images: np.rot90(images, -1, (1, 2)),
    "upside down": lambda images: images[:, ::-1, ::-1],
    "frontal chest radiograph": lambda images: np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8),
}


@pytest.mark.parametrize("text", ROTATIONS)
def test_a_rotated_image_or_noise_is_rejected_and_named(detector, phantoms, text):
    checks = detector.check(ROTATIONS[text](phantoms[350:]))

    assert np.mean([rejected and text in reason for _, rejected, reason in checks]) > 0.9


def test_exposure_does_not_matter(detector, phantoms):
    darker = (phantoms[350:] * 0.6).astype(np.uint8)

    np.testing.assert_allclose(
        detector.measure(standardize(darker)), detector.measure(standardize(phantoms[350:])), rtol=0.1
    )


def test_a_detector_is_restored_from_its_arrays(detector, phantoms):
    arrays = {name: np.asarray(value) for name, value in detector.to_arrays().items()}
    restored, thumbnails = OODDetector.from_arrays(arrays), standardize(phantoms[:5])

    np.testing.assert_allclose(restored.measure(thumbnails), detector.measure(thumbnails), rtol=1e-4)
    with pytest.raises(ValueError, match="a column for each of"):
        OODDetector.from_arrays(arrays | {"output": arrays["output"][:, 1:]})


def test_too_few_images_are_an_error(phantoms):
    with pytest.raises(ValueError, match="10 training"):
        fit_ood_detector(phantoms[:10], phantoms[10:20])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("tilted by 22 to 70 degrees", "tilted"),
        ("one half", "part of a frontal chest radiograph"),
        ("as from the side", "another view"),
        ("shapes", "not look like a frontal chest radiograph"),
        ("nearly blank", "very low contrast"),
    ],
)
def test_an_invalid_input_is_rejected_and_named(detector, phantoms, kind, text):
    checks = detector.check(make_invalid_inputs(phantoms[350:], kind, seed=9))

    assert np.mean([rejected for _, rejected, _ in checks]) > 0.7
    assert np.mean([text in reason for _, _, reason in checks]) > 0.7


def test_an_overexposed_image_is_flagged_but_not_rejected(detector, phantoms):
    images = phantoms[350:]
    limits = np.quantile(images, 0.7, axis=(1, 2), keepdims=True)
    checks = detector.check(np.where(images > limits, 255, images).astype(np.uint8))

    assert not any(in_distribution for in_distribution, _, _ in checks)
    assert np.mean(["completely black or white" in reason for _, _, reason in checks]) > 0.7


def test_phantoms_are_detected_among_other_images(phantoms):
    ground = gaussian_filter(np.random.default_rng(0).normal(size=(200, 64, 64)), (0, 9, 9))
    foggy = np.clip(phantoms[:200] / 2 + 900 * ground + 60, 0, 255).astype(np.uint8)
    detector = fit_ood_detector(foggy[:150], foggy[150:])

    shares = [
        detector.predict_causes(standardize(images))[:, CAUSES.index(PHANTOM)].mean()
        for images in (phantoms[350:], foggy)
    ]
    assert shares[0] > 0.6 > 0.3 > shares[1]
    assert not any(rejected for _, rejected, _ in detector.check(foggy))


def test_equal_images_and_seed_give_an_equal_detector(phantoms):
    first, second = (fit_ood_detector(phantoms[:48], phantoms[48:60], detect_phantoms=False, seed=4) for _ in range(2))

    for name, values in first.to_arrays().items():
        np.testing.assert_array_equal(values, second.to_arrays()[name])
