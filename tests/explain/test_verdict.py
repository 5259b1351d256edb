import pytest

from pneumoscope.explain.verdict import NOT_MEASURED, write_verdict
from pneumoscope.io.results import Estimate

MOVES = {"survives_all": Estimate(0.1, 0.0, 0.2, 12)}
FINDS = {"peak_in_lesion": Estimate(0.62, 0.5, 0.7, 36), "lesion_area": Estimate(0.09, 0.08, 0.1, 36)}
MISSES = {**FINDS, "peak_in_lesion": Estimate(0.11, 0.02, 0.2, 36)}
FAITHFUL, UNFAITHFUL = ({"road": Estimate(value, value - 0.1, value + 0.1, 12)} for value in (0.3, 0.0))


@pytest.mark.parametrize(
    ("metrics", "verdict"),
    [
        (MOVES | FINDS | FAITHFUL, "in 62 of 100 cases (chance 9): a hint, not a proof."),
        (MOVES | FINDS | UNFAITHFUL, "does not sway the net more than others."),
        (MOVES | MISSES | FAITHFUL, "what the net used, but no guide to where a lesion is."),
        (MOVES | MISSES | UNFAITHFUL, "so do not go by it."),
        ({"survives_all": Estimate(0.9, 0.8, 1.0, 12)} | FINDS | FAITHFUL, "is no reason to trust a decision."),
        ({}, NOT_MEASURED),
        ({"survives_all": Estimate(float("nan"), float("nan"), float("nan"), 0)}, NOT_MEASURED),
    ],
)
def test_the_verdict_follows_the_metrics(metrics, verdict):
    assert write_verdict(metrics).endswith(verdict)


def test_independence_of_the_last_layer_is_mentioned():
    blind = {"survives_last": Estimate(1.0, 1.0, 1.0, 12)}
    assert "though hardly with those that tell the classes" in write_verdict(MOVES | blind | FINDS)
    assert "though" not in write_verdict(MOVES | FINDS)
