"""The pictures of methods side by side."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pneumoscope.radiographs.phantoms import shows_phantoms
from pneumoscope.report import sentences
from pneumoscope.report.figures import explain_benchmark, retrieval
from pneumoscope.report.sketch import Sketch
from pneumoscope.report.wording import profile_title

if TYPE_CHECKING:
    from pneumoscope.radiographs.dataset import Dataset

_RETRIEVAL_PICTURES = (
    (
        "precision",
        "What is found",
        retrieval.draw_precision,
        retrieval.describe_precision,
        "How many of the nearest known images of other patients are of the test image's class, with 95% intervals.",
    ),
    (
        "doubt",
        "Where neighbors contradict",
        retrieval.draw_doubt,
        retrieval.describe_doubt,
        "If the lines of a net lie apart, neighbors that contradict it are a reason to doubt it.",
    ),
    (
        "distances",
        "Far from all that is known",
        retrieval.draw_distances,
        retrieval.describe_distances,
        "Beyond the dashed line lies one in twenty of the validation images.",
    ),
)


def plan_neighbors_benchmark(kind: str, profile: str, result: Any, dataset: Dataset | None) -> Iterator[Sketch]:
    """Yield what neighbors find and doubt."""
    for name, title, draw, describe, caption in _RETRIEVAL_PICTURES:
        yield Sketch(
            "neighbors",
            "benchmark",
            f"{profile}-neighbors-{name}",
            caption,
            partial(draw, result, title=f"{title}, {profile_title(profile)}"),
            partial(describe, result),
            wide=name == "precision",
        )


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
