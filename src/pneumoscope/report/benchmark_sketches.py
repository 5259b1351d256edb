"""The pictures of methods side by side."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pneumoscope.radiographs.phantoms import shows_phantoms
from pneumoscope.report import sentences
from pneumoscope.report.figures import anomaly, explain_benchmark
from pneumoscope.report.sketch import Sketch
from pneumoscope.report.wording import profile_title

if TYPE_CHECKING:
    from pneumoscope.radiographs.dataset import Dataset

MOST_SHOWN = 4  # detectors


def plan_anomaly_benchmark(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield the maps of detectors side by side."""
    shown = _choose_shown(result.detections)
    if not shown:
        return
    examples = next(iter(shown.values())).examples
    names = [str(name) for name in dataset.table["subtype"].iloc[examples]] if dataset is not None else []
    yield Sketch(
        "anomaly",
        "benchmark",
        f"{profile}-{kind}-maps",
        "Where each detector finds test images odd. Those shown find opacities drawn on held-out normals best.",
        lambda: anomaly.draw_detections(shown, names=names, title=f"Anomaly maps, {profile_title(profile)}"),
        lambda: anomaly.describe_detections(shown),
        wide=True,
    )


def _choose_shown(detections: dict[str, Any]) -> dict[str, Any]:
    """Return the detectors whose maps are shown: no choice looks at test."""
    ranked = [name for name, found in detections.items() if "pro_drawn" in found.metrics and len(found.images)]
    ranked.sort(key=lambda name: -detections[name].metrics["pro_drawn"].value)
    return {name: detections[name] for name in ranked[:MOST_SHOWN]}


def plan_explain_benchmark(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield the maps of methods side by side, the paper's claim, and probes."""
    claim = sentences.write_centrality(result.claim, phantoms=dataset is not None and shows_phantoms(dataset))
    for name, title, caption in (
        ("methods", "Maps of each method", "The same lesions, their place known, in the eyes of each method."),
        ("claim", "Where normals and pneumonias are lit", claim),
        ("probes", "What moves the net without sickness", "Each dot should lie at 0: none of these is a sickness."),
    ):
        if name != "methods" or len(result.images):
            yield Sketch(
                "explain",
                "benchmark",
                f"{profile}-explain-{name}",
                caption,
                partial(getattr(explain_benchmark, f"draw_{name}"), result, title=f"{title}, {profile_title(profile)}"),
                partial(getattr(explain_benchmark, f"describe_{name}"), result),
                wide=name == "methods",
            )
