import numpy as np
import pytest

from pneumoscope.metrics.conformal import choose_sets, evaluate_sets, fit_conformal

pytest.importorskip("mapie")


def draw(count, skill, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    scores = np.exp(rng.normal(size=(count, 3)) + skill * np.eye(3)[labels])
    return labels, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("skill", "coverage"), [(0.0, 0.9), (2.0, 0.9), (2.0, 0.8), (4.0, 0.95)])
def test_sets_have_the_nominal_coverage(skill, coverage):
    limit = fit_conformal(*draw(2000, skill, 0), coverage=coverage)
    labels, probabilities = draw(4000, skill, 1)
    metrics = evaluate_sets(
        choose_sets(probabilities, limit), np.eye(3, dtype=bool)[labels], np.arange(4000).astype(str)
    )
    assert metrics["coverage"].value == pytest.approx(coverage, abs=0.025)
    assert sum(metrics[name].value for name in ("single", "several", "empty")) == pytest.approx(1)


def test_better_classifiers_have_smaller_sets():
    sizes = []
    for skill in (0.5, 2.0, 4.0):
        limit = fit_conformal(*draw(1000, skill, 0))
        sizes.append(choose_sets(draw(1000, skill, 1)[1], limit).sum(axis=1).mean())
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_limit_is_the_rank_that_the_source_names():
    labels, probabilities = draw(499, 1.0, 0)
    scores = np.sort(1 - probabilities[np.arange(499), labels])
    assert fit_conformal(labels, probabilities) == pytest.approx(scores[450 - 1])


def test_with_too_few_images_sets_contain_all_classes():
    labels, probabilities = draw(8, 2.0, 0)
    assert choose_sets(probabilities, fit_conformal(labels, probabilities)).all()


def test_any_possible_class_covers_an_unknown_one():
    sets = np.array([[False, False, True], [True, False, False]])
    truths = np.array([[False, True, True], [False, True, True]])
    assert evaluate_sets(sets, truths, ["a", "b"])["coverage"].value == 0.5


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="labels are"):
        fit_conformal([0, 1], np.full((3, 3), 1 / 3))
    with pytest.raises(ValueError, match="sets are"):
        evaluate_sets(np.ones((2, 3), bool), np.ones((2, 2), bool), ["a", "b"])
