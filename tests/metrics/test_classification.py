import time

import numpy as np
import pytest
from sklearn import metrics as reference

from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.metrics import classification as metrics
from pneumoscope.metrics.classification import estimate_binary_scores, estimate_share, evaluate, evaluate_scores


def draw_case(num_images, classes, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(classes), num_images)
    probabilities = rng.dirichlet(np.ones(len(classes)), num_images) + 0.3 * np.eye(len(classes))[labels]
    if ties:
        probabilities = np.round(probabilities * 4) + 1
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)
    return labels, probabilities, rng.integers(0, num_images // 2, num_images).astype(str)


def evaluate_case(labels, probabilities, patients, classes, seed=0):
    names = np.array([f"{number}.jpeg" for number in range(len(labels))])
    return evaluate(labels, probabilities, classes=classes, split="test", patients=patients, names=names, seed=seed)


def weigh(labels, probabilities, classes, weights):
    rankings = metrics._list_rankings(labels, probabilities, classes)
    decisions = probabilities.argmax(axis=1)
    return {
        **metrics._weigh_decisions(labels, decisions, classes, weights),
        **metrics._weigh_rankings(rankings, weights),
    }


def test_metrics_of_a_small_case():
    labels = [0, 0, 0, 1, 1]
    pneumonia = np.array([0.1, 0.2, 0.7, 0.6, 0.9])

    result = evaluate_case(labels, np.stack([1 - pneumonia, pneumonia], axis=1), list("abcde"), BINARY_CLASSES)

    values = {name: metric.value for name, metric in result.metrics.items()}
    assert values == pytest.approx(
        {
            "accuracy": 4 / 5,
            "balanced_accuracy": (2 / 3 + 1) / 2,
            "macro_f1": (4 / 5 + 4 / 5) / 2,
            "precision_normal": 1,
            "recall_normal": 2 / 3,
            "f1_normal": 4 / 5,
            "precision_pneumonia": 2 / 3,
            "recall_pneumonia": 1,
            "f1_pneumonia": 4 / 5,
            "auroc": 5 / 6,
            "auprc": 1 / 2 * 1 + 1 / 2 * 2 / 3,
        }
    )
    assert result.confusion.tolist() == [[2, 1], [0, 2]]
    assert {result.metrics[name].n for name in ("accuracy", "auroc", "f1_normal")} == {5}
    assert result.metrics["recall_pneumonia"].n == 2
    assert result.metrics["precision_pneumonia"].n == 3


def test_bacterial_against_viral_ignores_normals():
    labels = np.array([0, 0, 1, 1, 2, 2])
    probabilities = [[0.9, 0, 0.1], [1, 0, 0], [0.8, 0.19, 0.01], [0, 0.3, 0.7], [0.9, 0.02, 0.08], [0, 0.4, 0.6]]
    metric = evaluate_case(labels, probabilities, list("abcdef"), THREE_CLASSES).metrics["auroc_bacterial_vs_viral"]
    assert metric.value == pytest.approx(3 / 4)
    assert metric.n == 4


def test_zero_probabilities_of_both_subtypes_count_as_half():
    probabilities = [[1, 0, 0], [0, 0.6, 0.4], [0, 0.4, 0.6], [1, 0, 0]]
    metric = evaluate_case([1, 1, 2, 2], probabilities, list("abcd"), THREE_CLASSES).metrics["auroc_bacterial_vs_viral"]
    assert metric.value == pytest.approx((1 + 0.5 + 1 + 1) / 4)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [BINARY_CLASSES, THREE_CLASSES])
def test_weighted_metrics_equal_those_of_scikit_learn(classes, ties):
    labels, probabilities, _ = draw_case(80, classes, ties=ties)
    decisions = probabilities.argmax(axis=1)
    weights = np.random.default_rng(1).poisson(1, (5, 80)).astype(float)

    result = weigh(labels, probabilities, classes, weights)

    truths = np.eye(len(classes))[labels]
    ranked = slice(1, 2) if len(classes) == 2 else slice(None)
    for row, weight in enumerate(weights):
        by_class = reference.precision_recall_fscore_support(labels, decisions, sample_weight=weight)
        expected = {
            "accuracy": reference.accuracy_score(labels, decisions, sample_weight=weight),
            "balanced_accuracy": reference.balanced_accuracy_score(labels, decisions, sample_weight=weight),
            "macro_f1": reference.f1_score(labels, decisions, average="macro", sample_weight=weight),
            "auroc": reference.roc_auc_score(
                truths[:, ranked], probabilities[:, ranked], average="macro", sample_weight=weight
            ),
            "auprc": reference.average_precision_score(
                truths[:, ranked], probabilities[:, ranked], average="macro", sample_weight=weight
            ),
        }
        for kind, values in zip(("precision", "recall", "f1"), by_class, strict=False):
            expected |= {f"{kind}_{name}": value for name, value in zip(classes, values, strict=True)}
        assert {name: values[row] for name, values in result.items()} == pytest.approx(expected)


@pytest.mark.parametrize("classes", [BINARY_CLASSES, THREE_CLASSES])
def test_a_weight_is_as_many_copies_of_the_image(classes):
    labels, probabilities, patients = draw_case(60, classes, seed=2)
    copies = np.random.default_rng(2).integers(0, 4, 60)
    weighed = weigh(labels, probabilities, classes, copies[None].astype(float))
    rows = np.repeat(np.arange(60), copies)
    copied = evaluate_case(labels[rows], probabilities[rows], patients[rows], classes).metrics
    assert {name: values[0] for name, values in weighed.items()} == pytest.approx(
        {name: copied[name].value for name in weighed}
    )


@pytest.mark.parametrize("classes", [BINARY_CLASSES, THREE_CLASSES])
def test_every_value_lies_in_its_interval(classes):
    result = evaluate_case(*draw_case(300, classes), classes).metrics
    assert ("auroc_bacterial_vs_viral" in result) == (classes == THREE_CLASSES)
    assert all(0 <= metric.low <= metric.value <= metric.high <= 1 for metric in result.values())


def test_intervals_have_their_nominal_coverage():
    covered = []
    for seed in range(100):
        flags = np.random.default_rng(seed).random(150) < 0.8
        result = estimate_share(flags, np.arange(150).astype(str), seed=seed)
        covered.append(result.low <= 0.8 <= result.high)
    assert 0.88 <= np.mean(covered) <= 1.0


def test_the_seed_alone_decides():
    case = draw_case(60, BINARY_CLASSES)
    first, again, other = (evaluate_case(*case, BINARY_CLASSES, seed=seed).metrics for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert {name: metric.value for name, metric in first.items()} == {
        name: metric.value for name, metric in other.items()
    }


def test_a_missing_class_leaves_its_metrics_undefined():
    result = evaluate_case([1, 1, 1], [[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]], list("abc"), BINARY_CLASSES).metrics
    undefined = {name for name, metric in result.items() if np.isnan(metric.value)}
    assert undefined == {"recall_normal", "balanced_accuracy", "auroc", "auprc"}
    assert all(np.isnan([result[name].low, result[name].high]).all() for name in undefined)
    assert result["accuracy"].value == pytest.approx(2 / 3)
    assert result["precision_normal"].value == 0


def test_a_class_that_is_never_predicted_has_no_precision():
    labels, always_pneumonia = [0, 0, 1, 1, 1], np.tile([0.1, 0.9], (5, 1))
    result = evaluate_case(labels, always_pneumonia, list("abcde"), BINARY_CLASSES).metrics
    assert np.isnan(result["precision_normal"].value)
    assert result["precision_normal"].n == 0
    assert result["f1_normal"].value == 0
    assert result["auroc"].value == 0.5


def test_a_class_of_very_few_patients_has_no_interval():
    labels = np.array([0] * 2 + [1] * 30)
    probabilities = np.eye(2)[labels]
    result = evaluate_case(labels, probabilities, np.arange(32).astype(str), BINARY_CLASSES).metrics
    assert result["recall_normal"].value == 1
    assert np.isnan([result["recall_normal"].low, result["auroc"].high]).all()
    assert np.isfinite([result["accuracy"].low, result["recall_pneumonia"].high]).all()


def test_scores_at_thresholds_of_a_small_case():
    labels, scores = [0, 0, 0, 1, 1], [0.1, 0.3, 0.5, 0.5, 0.2]

    result = evaluate_scores(labels, scores, {"low": 0.2, "high": 0.5}, patients=list("abcde"))

    assert {name: metric.value for name, metric in result.items()} == pytest.approx(
        {
            "auroc": (2.5 + 1) / 6,
            "auprc": 1 / 2 * 1 / 2 + 1 / 2 * 2 / 4,
            "accuracy_low": 3 / 5,
            "f1_low": 4 / 6,
            "flagged_normal_low": 2 / 3,
            "flagged_pneumonia_low": 1,
            "accuracy_high": 3 / 5,
            "f1_high": 2 / 4,
            "flagged_normal_high": 1 / 3,
            "flagged_pneumonia_high": 1 / 2,
        }
    )
    assert (result["flagged_normal_low"].n, result["flagged_pneumonia_low"].n) == (3, 2)


def test_metrics_of_a_ranking_do_not_depend_on_thresholds():
    labels, scores, patients = [0, 1, 0, 1, 1, 0], [1.0, 2.0, 2.0, 5.0, 0.0, 0.0], list("abcdef")
    alone = estimate_binary_scores(labels, scores, patients)
    beside = evaluate_scores(labels, scores, {"two": 2.0}, patients=patients)
    assert alone == {name: beside[name] for name in ("auroc", "auprc")}


@pytest.mark.parametrize(
    ("labels", "probabilities", "patients", "message"),
    [
        ([], np.empty((0, 2)), [], "expected .* one image or more"),
        ([0, -1], np.eye(2), ["a", "b"], "labels run from -1 to 0, expected 0 to 1; exclude"),
        ([0, 2], np.eye(2), ["a", "b"], "labels run from 0 to 2"),
        ([0, 1], np.eye(3), ["a", "b"], r"probabilities are \(3, 3\), expected \(2, 2\)"),
        ([0, 1], [[0.5, np.nan], [0, 1]], ["a", "b"], "expected values of 0 or more and row sums of 1"),
        ([0, 1], [[0.9, 0.9], [0, 1]], ["a", "b"], "row sums of 1"),
        ([0, 1], [[1.5, -0.5], [0, 1]], ["a", "b"], "values of 0 or more"),
        ([0, 1], np.eye(2), ["a"], r"labels are \(2,\), patients are \(1,\)"),
    ],
)
def test_invalid_arguments_raise_an_error(labels, probabilities, patients, message):
    with pytest.raises(ValueError, match=message):
        evaluate_case(labels, probabilities, patients, BINARY_CLASSES)


def test_infinite_scores_raise_an_error():
    with pytest.raises(ValueError, match="all finite"):
        evaluate_scores([0, 1], [0.1, np.nan], {}, patients=["a", "b"])


def test_metrics_of_a_test_split_take_under_three_seconds():
    case = draw_case(624, THREE_CLASSES)
    start = time.process_time()
    evaluate_case(*case, THREE_CLASSES)
    assert time.process_time() - start < 3
