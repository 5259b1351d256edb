"""The OOD detector on unchanged images and invalid inputs."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from pneumoscope.data.dataset import load_dataset
from pneumoscope.evaluation import ood
from pneumoscope.evaluation.ood import UNCHANGED, check_ood_detector
from pneumoscope.export.ood import fit_ood_detector
from pneumoscope.inference.model_set import ModelSet, load_model_set
from pneumoscope.phantoms.invalid_inputs import KINDS, make_invalid_inputs


@dataclass(frozen=True)
class BlockMeans:
    """Block means as embedding, in place of the graph of a classifier."""

    def run(self, inputs, outputs):
        assert outputs == ["embedding"]
        images = inputs["image"][..., 0]
        side = images.shape[1] // 8
        blocks = images.reshape(len(images), 8, side, 8, side).mean((2, 4)).reshape(len(images), -1)
        return [(blocks - blocks.mean(1, keepdims=True)) / (blocks.std(1, keepdims=True) + 1)]


@pytest.fixture(scope="module")
def models(phantoms):
    train, val = (phantoms.split(name).images for name in ("train", "val"))
    detector = fit_ood_detector(
        train,
        val,
        lambda images: BlockMeans().run({"image": images[..., None]}, ["embedding"])[0],
        detect_phantoms=False,
    )
    return ModelSet(None, BlockMeans(), anomaly=None, references=None, ood_detector=detector)


@pytest.fixture(scope="module")
def check(models, phantoms):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ood, "MAX_IMAGES", 12)
        return check_ood_detector(models, phantoms, split="test")


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
    assert first.auroc is first.false_positive_rate is None
    assert first.rejected.value < 0.1
    assert set(kinds) == {UNCHANGED, *KINDS}
    learned = {name for name, kind in KINDS.items() if kind.learned}
    assert {kind.kind for kind in check.kinds if kind.origin == "learned"} == learned
    for kind in ("inverted", "turned by 90 degrees to the left", "noise", "burnt out"):
        assert kinds[kind].rejected.value > 0.9
        assert kinds[kind].auroc.value > 0.99
        assert kinds[kind].false_positive_rate.value < 0.05
        assert (kinds[kind].flagged.n, kinds[kind].false_positive_rate.n) == (12, 30)
    assert "inverted" in kinds["inverted"].reason
    assert kinds["drawn phantom"].auroc.value < 0.8  # the images themselves are phantoms


def test_a_detector_that_accepts_all_is_noticed(models, phantoms, monkeypatch):
    monkeypatch.setattr(ood, "MAX_IMAGES", 3)
    blind = replace(models.ood_detector, flagged_from=np.inf, rejected_from=np.inf)
    check = check_ood_detector(replace(models, ood_detector=blind), phantoms, split="test")

    assert {(kind.flagged.value, kind.reason) for kind in check.kinds} == {(0.0, "")}
    with pytest.raises(ValueError, match="contains no image"):
        check_ood_detector(models, phantoms, split="elsewhere")
    with pytest.raises(ValueError, match="has no OOD detector"):
        check_ood_detector(replace(models, ood_detector=None), phantoms, split="test")


@pytest.mark.real_data
def test_the_shipped_detector_accepts_real_radiographs_and_little_else(real_data):
    images = load_dataset(real_data / "test", size=load_model_set().image_size).as_split("test")
    kinds = {kind.kind: kind for kind in check_ood_detector(load_model_set(), images, split="test").kinds}

    assert kinds[UNCHANGED].rejected.value < 0.01
    assert kinds[UNCHANGED].flagged.value < 0.05
    for name, kind in kinds.items():
        if name not in (UNCHANGED, "mirrored left to right"):
            assert kind.auroc.value > 0.97, name
    for name in ("inverted", "turned by 180 degrees", "upper half", "clouds", "page of print", "doubled brightness"):
        assert kinds[name].flagged.value > 0.9, name
    assert kinds["drawn phantom"].rejected.value < 0.05
