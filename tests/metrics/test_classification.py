import numpy as np
import pytest
from sklearn import metrics as reference

from pneumoscope.labels import LabelSet
from pneumoscope.metrics.classification import evaluate, evaluate_scores
from pneumoscope.metrics.weighted import weigh_decisions, weigh_rankings

BINARY = LabelSet(("normal", "pneumonia"), "normal")
FIVE = LabelSet(("covid", "flu", "healthy", "tb", "other"), "healthy", {"virus": ("covid", "flu")})
FINDINGS = LabelSet(("edema", "mass", "nodule", "hernia"), "no finding", multi_label=True)


def draw_case(num_images, label_set, ties=False):
    classes = label_set.classes
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(classes), num_images)
    probabilities = rng.dirichlet(np.ones(len(classes)), num_images) + 0.3 * np.eye(len(classes))[labels]
    if ties:
        probabilities = np.round(probabilities * 4) + 1
    probabilities = (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)
    return labels, probabilities, rng.integers(0, num_images // 2, num_images).astype(str)


def evaluate_case(labels, probabilities, patients, label_set, **options):
    names = np.array([f"{number}.jpeg" for number in range(len(labels))])
    about = {"label_set": label_set, "split": "test", "patients": patients, "names": names}
    return evaluate(labels, probabilities, **about, **options)


def test_metrics_of_a_small_case():
    labels = [0, 0, 0, 1, 1]
    pneumonia = np.array([0.1, 0.2, 0.7, 0.6, 0.9])

    result = evaluate_case(labels, np.stack([1 - pneumonia, pneumonia], axis=1), list("abcde"), BINARY)

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


def test_a_group_of_two_classes_is_ranked_on_its_own():
    labels = np.array([2, 2, 0, 0, 1, 1])
    covid, flu = [0.1, 0, 0.19, 0.3, 0, 0.4], [0, 0.1, 0.01, 0.5, 0, 0.6]
    probabilities = np.zeros((6, 5))
    probabilities[:, 0], probabilities[:, 1] = covid, flu
    probabilities[:, 2] = 1 - probabilities.sum(axis=1)
    metric = evaluate_case(labels, probabilities, list("abcdef"), FIVE).metrics["auroc_covid_vs_flu"]
    # The scores are 0.05 and 0.625 for covid, 0.5 (neutral, both probabilities are 0) and 0.6 for flu.
    assert metric.value == pytest.approx(2 / 4)
    assert metric.n == 4


def test_the_positive_class_may_come_first():
    labels, probabilities = [1, 1, 0], [[0.1, 0.9], [0.4, 0.6], [0.2, 0.8]]
    label_set = LabelSet(("ill", "well"), "well")
    assert evaluate_case(labels, probabilities, list("abc"), label_set).metrics["auprc"].value == pytest.approx(1 / 2)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("label_set", [BINARY, FIVE])
def test_weighted_metrics_equal_those_of_scikit_learn(label_set, ties):
    labels, probabilities, _ = draw_case(80, label_set, ties=ties)
    classes = label_set.classes
    decisions = probabilities.argmax(axis=1)
    weights = np.random.default_rng(1).poisson(1, (5, 80)).astype(float)

    ranked = slice(1, 2) if len(classes) == 2 else slice(None)
    truths = np.eye(len(classes))[labels]
    rankings = list(zip(truths.T[ranked] == 1, probabilities.T[ranked], strict=True))
    result = weigh_decisions(labels, decisions, classes, weights) | weigh_rankings(rankings, weights)

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


@pytest.mark.parametrize("label_set", [BINARY, FIVE])
def test_every_value_lies_in_its_interval(label_set):
    result = evaluate_case(*draw_case(300, label_set), label_set).metrics
    assert ("auroc_covid_vs_flu" in result) == (label_set == FIVE)
    assert all(0 <= metric.low <= metric.value <= metric.high <= 1 for metric in result.values())


def test_a_missing_class_leaves_its_metrics_undefined():
    result = evaluate_case([1, 1, 1], [[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]], list("abc"), BINARY).metrics
    undefined = {name for name, metric in result.items() if np.isnan(metric.value)}
    assert undefined == {"recall_normal", "balanced_accuracy", "auroc", "auprc"}
    assert all(np.isnan([result[name].low, result[name].high]).all() for name in undefined)
    assert result["accuracy"].value == pytest.approx(2 / 3)
    assert result["precision_normal"].value == 0


def test_a_class_that_is_never_predicted_has_no_precision():
    labels, always_ill = [0, 0, 1, 1, 1], np.tile([0.1, 0.9], (5, 1))
    result = evaluate_case(labels, always_ill, list("abcde"), BINARY).metrics
    assert np.isnan(result["precision_normal"].value)
    assert result["precision_normal"].n == 0
    assert result["f1_normal"].value == 0
    assert result["auroc"].value == 0.5


def test_scores_at_thresholds_of_a_small_case():
    labels, scores = [0, 0, 0, 1, 1], [0.1, 0.3, 0.5, 0.5, 0.2]

    result = evaluate_scores(labels, scores, {"low": 0.2, "high": 0.5}, patients=list("abcde"))

    assert {name: metric.value for name, metric in result.items()} == pytest.approx(
        {
            "auroc": (2.5 + 1) / 6,
            "auprc": 1 / 2 * 1 / 2 + 1 / 2 * 2 / 4,
            "accuracy_low": 3 / 5,
            "f1_low": 4 / 6,
            "false_positive_rate_low": 2 / 3,
            "sensitivity_low": 1,
            "accuracy_high": 3 / 5,
            "f1_high": 2 / 4,
            "false_positive_rate_high": 1 / 3,
            "sensitivity_high": 1 / 2,
        }
    )
    assert (result["false_positive_rate_low"].n, result["sensitivity_low"].n) == (3, 2)


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
        ([[0] * 4, [2] * 4], np.zeros((2, 4)), ["a", "b"], "one image or more and values 0, 1 or -1"),
        ([[0] * 4, [1] * 4], np.full((2, 4), 2), ["a", "b"], "expected values from 0 to 1"),
    ],
)
def test_invalid_arguments_raise_an_error(labels, probabilities, patients, message):
    with pytest.raises(ValueError, match=message):
        evaluate_case(labels, probabilities, patients, FINDINGS if np.ndim(labels) == 2 else BINARY)


def draw_findings(num_images=200):
    rng = np.random.default_rng(0)
    labels = (rng.random((num_images, 4)) < [0.5, 0.3, 0.2, 0]).astype(int)
    probabilities = np.clip(0.3 * labels + 0.7 * rng.random(labels.shape), 0, 1).astype(np.float32)
    labels[rng.random(labels.shape) < 0.1] = -1
    labels[:3] = -1
    return labels, probabilities, rng.integers(0, num_images // 2, num_images).astype(str)


def test_metrics_of_findings_ignore_unknown_labels(caplog):
    labels, probabilities, patients = draw_findings()
    evaluation = evaluate_case(labels, probabilities, patients, FINDINGS)
    result = evaluation.metrics
    assert "test has no images both with and without hernia" in caplog.text
    aurocs = []
    for number, name in enumerate(("edema", "mass", "nodule")):
        rows = labels[:, number] >= 0
        truth, scores = labels[rows, number], probabilities[rows, number]
        decided = scores >= 0.5
        precision, recall, f1, _ = reference.precision_recall_fscore_support(truth, decided)
        aurocs.append(reference.roc_auc_score(truth, scores))
        expected = {"auroc": aurocs[-1], "auprc": reference.average_precision_score(truth, scores), "f1": f1[1]}
        expected |= {"sensitivity": recall[1], "specificity": recall[0], "precision": precision[1]}
        assert {kind: result[f"{kind}_{name}"].value for kind in expected} == pytest.approx(expected)
        assert result[f"sensitivity_{name}"].n == truth.sum() and result[f"auroc_{name}"].n == len(truth)
        assert evaluation.confusion[number].tolist() == reference.confusion_matrix(truth, decided).tolist()
    assert np.isnan([result["auroc_hernia"].value, result["f1_hernia"].value]).all()
    assert result["auroc"].value == pytest.approx(np.mean(aurocs))
    known = labels >= 0
    exact = [((p >= 0.5) == t)[k].all() for p, t, k in zip(probabilities, labels, known, strict=True) if k.any()]
    assert result["subset_accuracy"].value == pytest.approx(np.mean(exact))
    defined = [metric for metric in result.values() if np.isfinite(metric.value)]
    assert all(0 <= metric.low <= metric.value <= metric.high <= 1 for metric in defined)


def test_findings_are_predicted_from_their_thresholds_on():
    result = evaluate_case(*draw_findings(), FINDINGS, thresholds=dict.fromkeys(FINDINGS.classes, 0.0))
    assert result.metrics["sensitivity_mass"].value == 1 and result.metrics["specificity_mass"].value == 0
