import pytest

from pneumoscope.explain.verdict import NOTHING, write_verdict
from pneumoscope.io.results import Estimate

MOVES = {"survives_all": Estimate(0.1, 0.0, 0.2, 12)}
FINDS = {"peak_in_lesion": Estimate(0.62, 0.5, 0.7, 36), "lesion_area": Estimate(0.09, 0.08, 0.1, 36)}
MISSES = {**FINDS, "peak_in_lesion": Estimate(0.11, 0.02, 0.2, 36)}
TELLS, MISLEADS = ({"road": Estimate(value, value - 0.1, value + 0.1, 12)} for value in (0.3, 0.0))


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        (MOVES | FINDS | TELLS, "in 62 of 100 cases (chance 9): a hint, not a proof."),
        (MOVES | FINDS | MISLEADS, "does not sway the net more than others."),
        (MOVES | MISSES | TELLS, "what the net used, but no guide to where a lesion is."),
        (MOVES | MISSES | MISLEADS, "so do not go by it."),
        ({"survives_all": Estimate(0.9, 0.8, 1.0, 12)} | FINDS | TELLS, "is no reason to trust a decision."),
        ({}, NOTHING),
        ({"survives_all": Estimate(float("nan"), float("nan"), float("nan"), 0)}, NOTHING),
    ],
)
def test_a_verdict_says_how_far_to_trust_a_map(figures, verdict):
    assert write_verdict(figures).endswith(verdict)


def test_a_map_that_does_not_know_the_class_is_named_one():
    blind = {"survives_last": Estimate(1.0, 1.0, 1.0, 12)}

    assert "though hardly with those that tell the classes" in write_verdict(MOVES | blind | FINDS)
    assert "though" not in write_verdict(MOVES | FINDS)
