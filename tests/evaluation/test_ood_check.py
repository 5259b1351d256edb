"""The measure of the gate: what is let through, by kind of input, and what a broken gate looks like."""

from dataclasses import replace

import numpy as np
import pytest
from pneumoscope.evaluation.ood_check import AS_THEY_ARE, measure_ood

from pneumoscope.data.dataset import load_dataset
from pneumoscope.inference.model_set import load_model_set
from pneumoscope.inference.ood import fit_ood_detector
from pneumoscope.io.results import Estimate, OODCheck, OODKind
from pneumoscope.phantoms.invalid_inputs import KINDS, make_invalid_inputs


@pytest.fixture(scope="module")
def domain(phantoms):
    return fit_ood_detector(phantoms.split("train").images, phantoms.split("val").images, tell_drawn=False)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (5, 128, 128), dtype=np.uint8)


@pytest.fixture(scope="module")
def check(domain, phantoms, noise):
    return measure_ood(domain, phantoms, split="test", others={"static": noise})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_picture_and_chance_is_seeded(phantoms, kind):
    films = phantoms.images[:3]
    made = make_invalid_inputs(films, kind, seed=2)

    assert (made.shape, made.dtype) == (films.shape, np.uint8)
    assert (made != films).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(made, make_invalid_inputs(films, kind, seed=2))


def test_usual_films_come_first_and_pass(check):
    first = check.kinds[0]

    assert (first.kind, first.origin, first.flagged.n) == (AS_THEY_ARE, "usual", 30)
    assert first.refused.value < 0.1


def test_every_kind_is_checked_and_the_wrong_are_refused(check):
    found = {kind.kind: kind for kind in check.kinds}

    assert set(found) == {AS_THEY_ARE, *KINDS, "static"}
    assert {kind.kind for kind in check.kinds if kind.origin == "unseen"} == {
        n for n, k in KINDS.items() if not k.learned
    }
    for kind in ("inverted", "turned by 90 degrees to the left", "static"):
        assert found[kind].refused.value > 0.9
    assert "inverted" in found["inverted"].reason
    assert found["static"].origin == "other"


def test_a_gate_that_stands_open_is_seen_to(domain, phantoms):
    never = {"flagged_from": np.inf, "refused_from": np.inf, "wrong_from": 2.0, "cause_from": domain.cause_from + 2}
    exposure = {"least_contrast": 0.0, "most_black": 1.0, "most_white": 1.0}
    check = measure_ood(replace(domain, **never, **exposure), phantoms, split="test")

    assert {kind.flagged.value for kind in check.kinds} == {0.0}
    assert {kind.reason for kind in check.kinds} == {""}


def test_a_split_without_films_is_refused(domain, phantoms):
    with pytest.raises(ValueError, match="holds no image"):
        measure_ood(domain, phantoms, split="elsewhere")


def test_no_more_can_be_refused_than_flagged():
    few, many = Estimate(0.1, 0.0, 0.2, 10), Estimate(0.9, 0.8, 1.0, 10)
    with pytest.raises(ValueError, match="more than flagged"):
        OODKind("noise", "learned", flagged=few, refused=many, reason="")
    with pytest.raises(ValueError, match="usual films first"):
        OODCheck("val", (OODKind("noise", "learned", flagged=many, refused=few, reason=""),))


@pytest.mark.real_data
def test_the_shipped_gate_lets_real_films_pass_and_little_else(real_data):
    films = load_dataset(real_data / "test").as_split("test")
    check = measure_ood(load_model_set().domain, films, split="test")
    found = {kind.kind: kind for kind in check.kinds}

    assert found[AS_THEY_ARE].refused.value < 0.01
    assert found[AS_THEY_ARE].flagged.value < 0.1
    for kind in ("inverted", "turned by 180 degrees", "as from the side", "clouds", "gradient", "page of print"):
        assert found[kind].refused.value > 0.85, kind
    for kind in ("drawn phantom", "burnt out", "far too dark"):
        assert found[kind].flagged.value > 0.9, kind
    assert found["drawn phantom"].refused.value < 0.05
