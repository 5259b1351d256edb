"""Summary sentence of the reliability of an explanation method, from its metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pneumoscope.io.results import Estimate

# Rank correlations at or above which two maps count as similar, and as equal.
SIMILAR = 0.5
SAME = 0.95
NOT_MEASURED = "The reliability of this heatmap was not measured."


def write_verdict(metrics: Mapping[str, Estimate]) -> str:
    """Return a summary of the reliability of a method's heatmaps for one model.

    Args:
        metrics: metrics of the method by name, see `pneumoscope.research.explain_benchmark`; missing and NaN metrics
            are ignored.

    Example:
        >>> metrics = {"survives_all": Estimate(0.05, 0.0, 0.1, 12), "peak_in_lesion": Estimate(0.62, 0.5, 0.7, 36)}
        >>> write_verdict({**metrics, "lesion_area": Estimate(0.09, 0.08, 0.1, 36)})
        'Passes the parameter-randomization check; pointing-game accuracy 62 % (chance 9 %). Supports the location of \
a lesion but does not prove it.'
    """
    metrics = {name: metric for name, metric in metrics.items() if math.isfinite(metric.value)}
    survival, survival_last = metrics.get("survives_all"), metrics.get("survives_last")
    peak, chance = metrics.get("peak_in_lesion"), metrics.get("lesion_area")
    clauses = []
    if survival is not None and survival.value >= SIMILAR:
        return (
            f"Fails the parameter-randomization check: rank correlation {survival.value:.2f} with the heatmap of a "
            "model with permuted weights. The heatmap depends on the image more than on the model. It does not explain "
            "a prediction."
        )
    if survival is not None:
        clauses.append("passes the parameter-randomization check")
        if survival_last is not None and survival_last.value >= SAME:
            clauses[0] += ", except for the last layer"
    if peak is not None and chance is not None:
        clauses.append(f"pointing-game accuracy {100 * peak.value:.0f} % (chance {100 * chance.value:.0f} %)")
    if "heat_in_lungs" in metrics:
        clauses.append(f"{100 * metrics['heat_in_lungs'].value:.0f} % of the heat in the lungs")
    if not clauses:
        return NOT_MEASURED
    listed = "; ".join(clauses)
    return f"{listed[0].upper()}{listed[1:]}. {_conclude(metrics)}"


def _conclude(metrics: Mapping[str, Estimate]) -> str:
    peak, chance, road = (metrics.get(name) for name in ("peak_in_lesion", "lesion_area", "road"))
    off_lesion = peak is not None and chance is not None and not peak.low > chance.high
    unfaithful = road is not None and not road.low > 0
    if off_lesion and unfaithful:
        return "Neither localization nor faithfulness (ROAD) exceeds chance: do not use it."
    if off_lesion:
        return ("Faithful to the model (ROAD), but localization" if road is not None else "Localization") + (
            " does not exceed chance."
        )
    if unfaithful:
        return "Localization exceeds chance, but faithfulness (ROAD) does not."
    return "Supports the location of a lesion but does not prove it."
