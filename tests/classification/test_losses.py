import numpy as np
import pytest
from sklearn.metrics import log_loss

pytest.importorskip("keras")

from pneumoscope.classification.losses import build_loss, encode_targets, weigh_findings


def test_unknown_labels_have_no_loss():
    rng = np.random.default_rng(0)
    labels, outputs = rng.integers(-1, 2, (50, 4)), rng.uniform(0.01, 0.99, (50, 4)).astype(np.float32)
    for balanced in (False, True):
        loss = build_loss(labels, 4, activation="sigmoid", label_smoothing=0, balanced=balanced)
        known = labels >= 0
        weights = weigh_findings(labels)[labels, np.arange(4)] if balanced else np.ones(labels.shape)
        expected = log_loss(labels[known], outputs[known], sample_weight=weights[known], normalize=False) / labels.size
        assert float(loss(encode_targets(labels, 4), outputs)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_balanced_classes_have_equal_weight(activation):
    labels = np.array([0, 0, 0, 1, 2, 2])
    outputs = np.random.default_rng(0).dirichlet(np.ones(3), 6).astype(np.float32)
    options = {"activation": activation, "label_smoothing": 0.1}
    plain, balanced = (build_loss(labels, 3, balanced=flag, **options) for flag in (False, True))
    targets = encode_targets(labels, 3)
    by_class = [float(plain(targets[labels == number], outputs[labels == number])) for number in range(3)]
    assert float(balanced(targets, outputs)) == pytest.approx(np.mean(by_class), rel=1e-5)
