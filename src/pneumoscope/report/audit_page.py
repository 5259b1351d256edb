"""The audit of a collection for a reader: as text, as JSON, and as one page with pictures."""

from __future__ import annotations

import base64
import io
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.io.results import Audit
from pneumoscope.io.write import write_text
from pneumoscope.phantoms.phantom import shows_phantoms
from pneumoscope.report.figures.palette import CLASS_COLORS, HALF_WIDTH, embed_svg, new_figure, save_figure, styled
from pneumoscope.report.tables import tabulate_counts
from pneumoscope.report.templates import write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumoscope.data.dataset import Dataset

QUANTILE_TITLES = ("5%", "25%", "median", "75%", "95%")

_EXAMPLES = 4
_DUPLICATES_SHOWN = 8
_NAMES_LISTED = 12
_LINE_STYLES = {"normal": "-", "bacterial": "--", "viral": "-.", "unknown": ":"}
_UNTOLD = "pneumonia, sub-type unknown"


def write_audit(audit: Audit, dataset: Dataset, out_dir: str | os.PathLike[str]) -> Path:
    """Write `audit.txt`, `audit.json`, `audit.html` and its figure.

    Args:
        audit: what was found.
        dataset: what it was found in, for the pictures.
        out_dir: where to; files of an earlier audit are replaced.

    Returns:
        Path of `audit.html`, one file that opens with no network.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    write_text(out_dir / "audit.txt", format_audit(audit))
    document = {"notice": RESEARCH_USE_ONLY, "pneumoscope_version": __version__, **asdict(audit)}
    write_text(out_dir / "audit.json", json.dumps(document, indent=2))
    return _write_page(audit, dataset, out_dir)


def format_audit(audit: Audit) -> str:
    """Return an audit as text for a terminal."""
    counts = tabulate_counts(audit.counts, audit.patients)
    rows = [["split", *counts["classes"], "all", "normals", "patients"]]
    rows += [[split, *map(str, of_class), *map(str, rest)] for split, of_class, *rest in counts["rows"]]
    lines = ["Audit of the radiographs", RESEARCH_USE_ONLY, "", *_align(rows), ""]
    lines += [f"- {note}" for note in audit.notes]
    for title, entries in _list_findings(audit):
        lines += ["", f"{title} ({len(entries)}):", *(f"  {entry}" for entry in entries[:_NAMES_LISTED])]
        if len(entries) > _NAMES_LISTED:
            lines.append(f"  and {len(entries) - _NAMES_LISTED} more, all in audit.json")
    exposure = [[name, *(f"{level:.0f}" for level in levels)] for name, levels in audit.exposure.items()]
    lines += ["", "Mean gray level of an image, 0 to 255:", *_align([["class", *QUANTILE_TITLES], *exposure])]
    return "\n".join(lines) + "\n"


def _list_findings(audit: Audit) -> list[tuple[str, list[str]]]:
    findings = [
        ("Files left out", [f"{entry['name']}: {entry['reason']}" for entry in audit.unreadable]),
        ("Files with the same bytes", [" = ".join(group) for group in audit.exact_duplicates]),
        ("Different files that show the same film", [" ~ ".join(pair) for pair in audit.near_duplicates]),
        ("Patients in more than one split", audit.shared_patients),
        ("Person numbers both in train and in test", audit.shared_numbers),
        (
            "Most frequent sizes, in pixels",
            [f"{size['width']} x {size['height']}: {size['count']} files" for size in audit.sizes],
        ),
    ]
    return [(title, entries) for title, entries in findings if entries]


def _align(rows: list[list[str]]) -> list[str]:
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in rows
    ]


@styled
def draw_exposures(dataset: Dataset) -> Figure:
    """Draw the mean gray level of the images of each class as one outline a class."""
    levels, subtypes = dataset.images.mean(axis=(1, 2)), dataset.table["subtype"].to_numpy()
    figure = new_figure("Exposure", width=HALF_WIDTH)
    axes = figure.subplots()
    bins = np.linspace(np.floor(levels.min()), np.ceil(levels.max()) + 1, 33)
    for name, line in _LINE_STYLES.items():
        if (subtypes == name).any():
            shares, _ = np.histogram(levels[subtypes == name], bins)
            axes.stairs(
                100 * shares / shares.sum(),
                bins,
                color=CLASS_COLORS[name],
                linestyle=line,
                linewidth=1.7,
                label=_UNTOLD if name == "unknown" else name,
            )
    axes.set_xlabel("mean gray level of an image (0 black, 255 white)")
    axes.set_ylabel("% of the class")
    axes.legend()
    return figure


def describe_exposures(audit: Audit) -> str:
    """Return the alternative text of `draw_exposures`."""
    parts = [
        f"{name} {levels[0]:.0f} to {levels[-1]:.0f}, median {levels[2]:.0f}" for name, levels in audit.exposure.items()
    ]
    return f"Mean gray levels by class; nine of ten images lie in: {'; '.join(parts)}."


def _collect_examples(dataset: Dataset) -> list[dict[str, Any]]:
    """Return for each class some images, each of another patient, spread evenly over the class."""
    shown = []
    for name in _LINE_STYLES:
        rows = dataset.table.index[dataset.table["subtype"] == name]
        firsts = dataset.table.loc[rows].drop_duplicates("patient").index.to_numpy()
        if len(firsts):
            chosen = firsts[np.linspace(0, len(firsts) - 1, min(_EXAMPLES, len(firsts))).round().astype(int)]
            title = _UNTOLD if name == "unknown" else name
            pictures = [_show_image(dataset, row, f"Example of class {title}: ") for row in chosen]
            shown.append({"title": title, "pictures": pictures})
    return shown


def _collect_duplicates(groups: list[list[str]], dataset: Dataset, what: str) -> list[dict[str, Any]]:
    row_of = {name: row for row, name in enumerate(dataset.table["name"])}
    splits = dataset.table["split"].tolist()
    shown = []
    for group in groups[:_DUPLICATES_SHOWN]:
        rows = [row_of[name] for name in group]
        crosses = len({splits[row] for row in rows}) > 1
        pictures = [_show_image(dataset, row, f"{what}: ") for row in rows]
        shown.append({"title": "across splits" if crosses else "", "pictures": pictures})
    return shown


def _show_image(dataset: Dataset, row: int, prefix: str) -> dict[str, str]:
    buffer = io.BytesIO()
    Image.fromarray(dataset.images[row]).save(buffer, "PNG", optimize=True)
    address = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    name = dataset.table["name"].iloc[row]
    return {"address": address, "name": name, "alt": f"{prefix}{name}"}


def _write_page(audit: Audit, dataset: Dataset, out_dir: Path) -> Path:
    alt = describe_exposures(audit)
    svg = save_figure(draw_exposures(dataset), out_dir / "exposure", note=RESEARCH_USE_ONLY, description=alt)
    return write_page(
        out_dir / "audit.html",
        "audit.html.j2",
        audit=audit,
        num_images=len(dataset),
        drawn=shows_phantoms(dataset),
        counts=tabulate_counts(audit.counts, audit.patients),
        findings=_list_findings(audit),
        exposure={"address": embed_svg(svg), "alt": alt},
        examples=_collect_examples(dataset),
        exact=_collect_duplicates(audit.exact_duplicates, dataset, "Same bytes"),
        near=_collect_duplicates(audit.near_duplicates, dataset, "Same film"),
    )
