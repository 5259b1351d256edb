"""The pictures of methods side by side."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pneumoscope.radiographs.phantoms import shows_phantoms
from pneumoscope.report import sentences
from pneumoscope.report.figures import explain_benchmark
from pneumoscope.report.sketch import Sketch
from pneumoscope.report.wording import profile_title

if TYPE_CHECKING:
    from pneumoscope.radiographs.dataset import Dataset


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
