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
        (
            MOVES | FINDS | FAITHFUL,
            "accuracy 62 % (chance 9 %). Supports the location of a lesion but does not prove it.",
        ),
        (MOVES | FINDS | UNFAITHFUL, "Localization exceeds chance, but faithfulness (ROAD) does not."),
        (MOVES | MISSES | FAITHFUL, "Faithful to the model (ROAD), but localization does not exceed chance."),
        (MOVES | MISSES | UNFAITHFUL, "Neither localization nor faithfulness (ROAD) exceeds chance: do not use it."),
        ({"survives_all": Estimate(0.9, 0.8, 1.0, 12)} | FINDS | FAITHFUL, "It does not explain a prediction."),
        ({}, NOT_MEASURED),
        ({"survives_all": Estimate(float("nan"), float("nan"), float("nan"), 0)}, NOT_MEASURED),
    ],
)
def test_the_verdict_follows_the_metrics(metrics, verdict):
    assert write_verdict(metrics).endswith(verdict)


def test_independence_of_the_last_layer_is_mentioned():
    blind = {"survives_last": Estimate(1.0, 1.0, 1.0, 12)}
    assert "except for the last layer" in write_verdict(MOVES | blind | FINDS)
    assert "except" not in write_verdict(MOVES | FINDS)
