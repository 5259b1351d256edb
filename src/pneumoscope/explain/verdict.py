"""How far to trust the heat-maps of a method, out of what was measured: a sentence to stand beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pneumoscope.io.results import Estimate

# Rank correlations from where on two maps are much the same, and all but the same.
ALIKE = 0.5
SAME = 0.95
READER_METHOD = "hirescam"  # of the heatmaps of exported classifiers
NOTHING = "This map has not been measured: it is a picture, and no reason to trust or doubt a decision."


def write_verdict(figures: Mapping[str, Estimate]) -> str:
    """Return how far to trust the maps of a method, on the net that it was measured on.

    Args:
        figures: of the method, by the names of `pneumoscope.research.explain_benchmark`; those that are missing or not
            defined are not spoken of.

    Example:
        >>> figures = {"survives_all": Estimate(0.05, 0.0, 0.1, 12), "peak_in_lesion": Estimate(0.62, 0.5, 0.7, 36)}
        >>> write_verdict({**figures, "lesion_area": Estimate(0.09, 0.08, 0.1, 36)})
        "This map moves with the net's weights and peaks on a known lesion in 62 of 100 cases (chance 9): a hint, \
not a proof."
    """
    known = {name: figure for name, figure in figures.items() if math.isfinite(figure.value)}
    said = []
    survival = known.get("survives_all")
    if survival is not None:
        if survival.value >= ALIKE:
            return (
                f"This map stays much the same once the net's weights are shuffled (rank correlation "
                f"{survival.value:.2f}): it shows the film and not the net, and is no reason to trust a decision."
            )
        last = known.get("survives_last")
        blind = last is not None and last.value >= SAME
        said.append(
            "moves with the net's weights" + (", though hardly with those that tell the classes" if blind else "")
        )
    found, chance = known.get("peak_in_lesion"), known.get("lesion_area")
    if found is not None and chance is not None:
        said.append(
            f"peaks on a known lesion in {100 * found.value:.0f} of 100 cases (chance {100 * chance.value:.0f})"
        )
    if "heat_in_lungs" in known:
        said.append(f"lies in the lungs to {100 * known['heat_in_lungs'].value:.0f}%")
    if not said:
        return NOTHING
    listed = ", ".join(said[:-1]) + (" and " if len(said) > 1 else "") + said[-1]
    return f"This map {listed}: {_conclude(known)}."


def _conclude(known: Mapping[str, Estimate]) -> str:
    found, chance, road = (known.get(name) for name in ("peak_in_lesion", "lesion_area", "road"))
    finds = found is not None and chance is not None and found.low > chance.high
    tells = road is not None and road.low > 0
    misses = found is not None and chance is not None and not finds
    misleads = road is not None and not tells
    if misses and misleads:
        return "no better than chance at finding a lesion or what the net used, so do not go by it"
    if misses:
        return "what the net used, but no guide to where a lesion is" if tells else "no guide to where a lesion is"
    if misleads:
        return "a hint at where a lesion is, but taking its hot pixels away does not sway the net more than others"
    return "a hint, not a proof"
