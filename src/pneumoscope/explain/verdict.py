"""A sentence on how far to trust the heat-maps of a method, from its metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pneumoscope.io.results import Estimate

# Rank correlations from which two maps count as similar, and as the same.
SIMILAR = 0.5
SAME = 0.95
NOT_MEASURED = "This map has not been measured: it is a picture, and no reason to trust or doubt a decision."


def write_verdict(metrics: Mapping[str, Estimate]) -> str:
    """Return how far to trust the maps of a method for the model that it was measured on.

    Args:
        metrics: of the method, by the names of `pneumoscope.research.explain_benchmark`; missing and undefined ones are
            not mentioned.

    Example:
        >>> metrics = {"survives_all": Estimate(0.05, 0.0, 0.1, 12), "peak_in_lesion": Estimate(0.62, 0.5, 0.7, 36)}
        >>> write_verdict({**metrics, "lesion_area": Estimate(0.09, 0.08, 0.1, 36)})
        "This map moves with the net's weights and peaks on a known lesion in 62 of 100 cases (chance 9): a hint, \
not a proof."
    """
    metrics = {name: metric for name, metric in metrics.items() if math.isfinite(metric.value)}
    survival, survival_last = metrics.get("survives_all"), metrics.get("survives_last")
    peak, chance = metrics.get("peak_in_lesion"), metrics.get("lesion_area")
    clauses = []
    if survival is not None and survival.value >= SIMILAR:
        return (
            f"This map stays much the same once the net's weights are shuffled (rank correlation "
            f"{survival.value:.2f}): it shows the film and not the net, and is no reason to trust a decision."
        )
    if survival is not None:
        clauses.append("moves with the net's weights")
        if survival_last is not None and survival_last.value >= SAME:
            clauses[0] += ", though hardly with those that tell the classes"
    if peak is not None and chance is not None:
        clauses.append(
            f"peaks on a known lesion in {100 * peak.value:.0f} of 100 cases (chance {100 * chance.value:.0f})"
        )
    if "heat_in_lungs" in metrics:
        clauses.append(f"lies in the lungs to {100 * metrics['heat_in_lungs'].value:.0f}%")
    if not clauses:
        return NOT_MEASURED
    listed = ", ".join(clauses[:-1]) + (" and " if len(clauses) > 1 else "") + clauses[-1]
    return f"This map {listed}: {_conclude(metrics)}."


def _conclude(metrics: Mapping[str, Estimate]) -> str:
    peak, chance, road = (metrics.get(name) for name in ("peak_in_lesion", "lesion_area", "road"))
    off_lesion = peak is not None and chance is not None and not peak.low > chance.high
    unfaithful = road is not None and not road.low > 0
    if off_lesion and unfaithful:
        return "no better than chance at finding a lesion or what the net used, so do not go by it"
    if off_lesion:
        return ("what the net used, but " if road is not None else "") + "no guide to where a lesion is"
    if unfaithful:
        return "a hint at where a lesion is, but taking its hot pixels away does not sway the net more than others"
    return "a hint, not a proof"
