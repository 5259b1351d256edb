import numpy as np
import pytest

from pneumoscope.report.verdicts import NOTHING, write_subtype_verdict, write_verdict
from pneumoscope.results import Estimate
from pneumoscope.tasks.label_stretches import ErrorRuns

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


def make_stretches(share: float, nets: dict[str, float], borders: dict[str, float]) -> ErrorRuns:
    aurocs = {
        teller: {place: Estimate(value, value - 0.05, value + 0.05, 40) for place, value in told.items()}
        for teller, told in (("nets", nets), ("borders", borders))
    }
    names, kinds = np.array([f"person{number}" for number in range(100)]), np.repeat([1, 2], 50)
    return ErrorRuns(names, kinds, (np.arange(100) < 100 * share).astype(float), 0.25, aurocs)


def test_subtypes_that_go_with_how_films_were_made_are_named_so():
    nets, apart = {"outside": 0.92, "inside": 0.49}, {"outside": 0.88, "inside": 0.37}

    said = write_subtype_verdict(make_stretches(0.31, nets, apart))
    assert "an AUROC of 0.92, but of 0.49 where they were often wrong film after film, in 31 of 100 training" in said
    assert said.endswith("it may be how a film was made that tells them apart.")
    assert "frame" not in write_subtype_verdict(make_stretches(0.31, nets, {"outside": 0.6, "inside": 0.58}))
    assert "were often wrong film after film, in 31 of 100" in write_subtype_verdict(
        make_stretches(0.31, {"outside": 0.92}, {})
    )
    assert write_subtype_verdict(make_stretches(0, {"outside": 0.92}, {})) == ""
