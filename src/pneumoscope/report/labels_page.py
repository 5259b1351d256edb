"""Labels to look at again, as one page with the films, and as a table."""

from __future__ import annotations

import base64
import csv
import io
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.radiographs.phantoms import shows_phantoms
from pneumoscope.report.figures.label_stretches import describe_label_stretches, draw_label_stretches
from pneumoscope.report.figures.palette import embed_svg, save_figure
from pneumoscope.report.templates import make_environment
from pneumoscope.report.wording import word_estimate
from pneumoscope.results import THREE_CLASSES

if TYPE_CHECKING:
    from pneumoscope.radiographs.dataset import Dataset
    from pneumoscope.tasks.label_stretches import ErrorRuns
    from pneumoscope.tasks.labels import LabelReview

MOST_SHOWN = 200
FILMS_IN_A_ROW = 8
JPEG_QUALITY = 80


def write_label_review(review: LabelReview, stretches: ErrorRuns, dataset: Dataset, out_dir: Path) -> Path:
    """Write `labels.html`, one file that opens with no network, and `labels.csv` with a row for each label.

    Args:
        review: what was found; the page shows its first 200, the table holds all.
        stretches: where along the file names sub-types are contradicted.
        dataset: the films.
        out_dir: where to; files of an earlier review are replaced.

    Returns:
        Path of the page.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    row_of = {name: row for row, name in enumerate(dataset.table["name"])}
    films = _list_films(review)
    shown = [{**film, "address": _embed(dataset.images[row_of[film["name"]]])} for film in films[:MOST_SHOWN]]
    duplicates = [
        [{"name": name, "label": label, "address": _embed(dataset.images[row_of[name]])} for name, label in group]
        for group in review.duplicates
    ]
    alt = describe_label_stretches(stretches)
    page = (
        make_environment()
        .get_template("labels.html.j2")
        .render(
            css=files("pneumoscope.report").joinpath("report.css").read_text(encoding="utf-8"),
            research_use_only=RESEARCH_USE_ONLY,
            version=__version__,
            drawn=shows_phantoms(dataset),
            review=review,
            num_wrong=round(float(review.joint.sum() - np.trace(review.joint))),
            joint=[[round(float(number)) for number in row] for row in review.joint],
            duplicates=duplicates,
            stretches=stretches,
            listed=[(review.classes[kind], *rest) for kind, *rest in stretches.list_runs()],
            picture=_draw_stretches(stretches, out_dir, alt),
            alt=alt,
            told={
                teller: {place: word_estimate("auroc", found) for place, found in places.items()}
                for teller, places in stretches.aurocs.items()
            },
            rows=_choose_rows(stretches, dataset, row_of),
            films=shown,
        )
    )
    _write_whole(out_dir / "labels.html", page)
    _write_whole(out_dir / "labels.csv", _format_table(films))
    return out_dir / "labels.html"


def _draw_stretches(stretches: ErrorRuns, out_dir: Path, alt: str) -> str:
    figure = draw_label_stretches(stretches, title="How many films around each look like the other sub-type")
    return embed_svg(save_figure(figure, out_dir / "label-stretches", note=RESEARCH_USE_ONLY, description=alt))


def _choose_rows(stretches: ErrorRuns, dataset: Dataset, row_of: dict[str, int]) -> list[dict[str, Any]]:
    """Return some films of each sub-type, outside and inside of stretches, evenly along the file names."""
    rows: list[dict[str, Any]] = []
    if not stretches.inside.any():
        return rows
    for number in np.unique(stretches.subtypes).tolist():
        for place, within in (("elsewhere", False), ("in stretches", True)):
            names = stretches.names[(stretches.subtypes == number) & (stretches.inside == within)]
            chosen = names[np.unique(np.linspace(0, len(names) - 1, FILMS_IN_A_ROW).astype(int))] if len(names) else []
            addresses = [_embed(dataset.images[row_of[name]]) for name in chosen]
            rows.append({"kind": THREE_CLASSES[number], "place": place, "addresses": addresses})
    return rows


def _list_films(review: LabelReview) -> list[dict[str, Any]]:
    return [
        {
            "name": str(name),
            "given": review.classes[review.given[row]],
            "proposed": review.classes[review.proposed[row]],
            "suspicion": f"{review.suspicion[row]:.3f}",
            "net": _word_shares(review.classes, review.probabilities[row]),
            "votes": _word_shares(review.classes, review.votes[row]),
        }
        for row, name in enumerate(review.names)
    ]


def _word_shares(classes: tuple[str, ...], shares: np.ndarray) -> str:
    return ", ".join(f"{name} {100 * share:.0f}%" for name, share in zip(classes, shares, strict=True))


def _format_table(films: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    text.write(f"# {RESEARCH_USE_ONLY}\n")
    writer = csv.DictWriter(text, ["name", "given", "proposed", "suspicion", "net", "votes"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(films)
    return text.getvalue()


def _embed(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
