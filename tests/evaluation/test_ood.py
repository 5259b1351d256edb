"""The OOD detector on unchanged images and invalid inputs."""

from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.data.dataset import load_dataset
from pneumoscope.evaluation.ood import UNCHANGED, check_ood_detector
from pneumoscope.inference.model_set import load_model_set
from pneumoscope.inference.ood import fit_ood_detector
from pneumoscope.phantoms.invalid_inputs import KINDS, make_invalid_inputs


@pytest.fixture(scope="module")
def detector(phantoms):
    return fit_ood_detector(phantoms.split("train").images, phantoms.split("val").images, detect_phantoms=False)


@pytest.fixture(scope="module")
def check(detector, phantoms):
    return check_ood_detector(detector, phantoms, split="test")


@pytest.mark.parametrize("kind", KINDS)
def test_invalid_inputs_are_images_and_reproducible(phantoms, kind):
    images = phantoms.images[:3]
    inputs = make_invalid_inputs(images, kind, seed=2)

    assert (inputs.shape, inputs.dtype) == (images.shape, np.uint8)
    assert (inputs != images).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(inputs, make_invalid_inputs(images, kind, seed=2))


def test_unchanged_images_are_accepted_and_invalid_inputs_rejected(check):
    first, kinds = check.kinds[0], {kind.kind: kind for kind in check.kinds}

    assert (first.kind, first.origin, first.flagged.n) == (UNCHANGED, "usual", 30)
    assert first.rejected.value < 0.1
    assert set(kinds) == {UNCHANGED, *KINDS}
    unseen = {name for name, kind in KINDS.items() if not kind.learned}
    assert {kind.kind for kind in check.kinds if kind.origin == "unseen"} == unseen
    for kind in ("inverted", "turned by 90 degrees to the left", "noise"):
        assert kinds[kind].rejected.value > 0.9
    assert "inverted" in kinds["inverted"].reason


def test_a_detector_that_accepts_all_is_noticed(detector, phantoms):
    never = {"flagged_from": np.inf, "rejected_from": np.inf, "wrong_from": 2.0, "cause_from": detector.cause_from + 2}
    exposure = {"least_contrast": 0.0, "most_black": 1.0, "most_white": 1.0}
    check = check_ood_detector(replace(detector, **never, **exposure), phantoms, split="test")

    assert {(kind.flagged.value, kind.reason) for kind in check.kinds} == {(0.0, "")}
    with pytest.raises(ValueError, match="contains no image"):
        check_ood_detector(detector, phantoms, split="elsewhere")


@pytest.mark.real_data
def test_the_shipped_detector_accepts_real_radiographs_and_little_else(real_data):
    images = load_dataset(real_data / "test").as_split("test")
    kinds = {kind.kind: kind for kind in check_ood_detector(load_model_set().ood_detector, images, split="test").kinds}

    assert kinds[UNCHANGED].rejected.value < 0.01
    assert kinds[UNCHANGED].flagged.value < 0.1
    for kind in ("inverted", "turned by 180 degrees", "as from the side", "clouds", "gradient", "page of print"):
        assert kinds[kind].rejected.value > 0.85, kind
    for kind in ("drawn phantom", "burnt out", "far too dark"):
        assert kinds[kind].flagged.value > 0.9, kind
    assert kinds["drawn phantom"].rejected.value < 0.05
