"""Notes on the reliability of a reading."""

from dataclasses import replace

import numpy as np
import pytest

from pneumoscope.inference.decision import describe_flag
from pneumoscope.inference.model_set import SHIPPED_DIR, load_cards
from pneumoscope.io.results import Estimate


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (Estimate(0.3, 0.2, 0.42, 50), "measured 30 % (95 % CI 20 to 42 %, test normals, n = 50)"),
        (Estimate(0.5, np.nan, np.nan, 2), "measured 50 % (test normals, n = 2)"),
        (Estimate(np.nan, np.nan, np.nan, 0), "measured rate not stated"),
        (None, "measured rate not stated"),
    ],
)
def test_the_false_positive_rate_of_the_anomaly_flag_is_that_of_the_card(rate, expected):
    card = load_cards(SHIPPED_DIR).anomaly
    metrics = {"auroc": card.metrics["test"]["auroc"]} | ({"false_positive_rate_quantile": rate} if rate else {})

    note = describe_flag(replace(card, metrics={"test": metrics}))

    assert note == f"False positive rate of the anomaly flag: nominal 5 %, {expected}."
