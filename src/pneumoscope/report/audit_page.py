"""The audit of a collection as text, JSON and HTML."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.data.audit import group_by_label
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.io.json_file import write_json
from pneumoscope.io.results import Audit
from pneumoscope.io.write import write_text
from pneumoscope.labels import LabelSet
from pneumoscope.phantoms.phantom import shows_phantoms
from pneumoscope.report.figures.exposure import draw_exposures
from pneumoscope.report.figures.palette import embed_image, save_page_figure
from pneumoscope.report.tables import Cell, Table, tabulate_counts, tabulate_exposure
from pneumoscope.report.templates import write_page

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset

EXACT_DUPLICATES = "Exact duplicates: files with the same bytes"
NEAR_DUPLICATES = "Near duplicates: different files with the same image"
_EXAMPLES = 4
_DUPLICATES_SHOWN = 8
_NAMES_LISTED = 12


def write_audit(audit: Audit, dataset: Dataset, out_dir: str | os.PathLike[str]) -> Path:
    """Write `audit.txt`, `audit.json`, `audit.html` and its figure.

    Args:
        audit: audit of `dataset`.
        dataset: images for the examples and the figure.
        out_dir: output folder; files of an earlier audit are replaced.

    Returns:
        Path of `audit.html`, which works offline.
    """
    out_dir = Path(out_dir)
    write_text(out_dir / "audit.txt", format_audit(audit, dataset.label_set))
    document = {"notice": RESEARCH_USE_ONLY, "pneumoscope_version": __version__, **asdict(audit)}
    write_json(out_dir / "audit.json", document)
    return _write_page(audit, dataset, out_dir)


def format_audit(audit: Audit, label_set: LabelSet) -> str:
    """Return an audit as text for a terminal, with the classes in the order of `label_set`."""
    counts = tabulate_counts("", audit.counts, audit.patients, audit.images, label_set)
    lines = ["Audit", RESEARCH_USE_ONLY, "", *_align(counts), ""]
    lines += [f"- {note}" for note in audit.notes]
    for title, entries in _list_findings(audit):
        lines += ["", f"{title} ({len(entries)}):", *(f"  {entry}" for entry in entries[:_NAMES_LISTED])]
        if len(entries) > _NAMES_LISTED:
            lines.append(f"  {len(entries) - _NAMES_LISTED} more in audit.json")
    lines += ["", "Mean gray level of an image, 0 to 255:", *_align(tabulate_exposure(audit.exposure))]
    return "\n".join(lines) + "\n"


def _list_findings(audit: Audit) -> list[tuple[str, list[str]]]:
    sizes = ["{width} x {height}: {count} files".format(**size) for size in audit.sizes]
    findings = [
        ("Files left out", ["{name}: {reason}".format(**entry) for entry in audit.unreadable]),
        (EXACT_DUPLICATES, [" = ".join(group) for group in audit.exact_duplicates]),
        (NEAR_DUPLICATES, [" ~ ".join(pair) for pair in audit.near_duplicates]),
        ("Patients in more than one split", audit.shared_patients),
        ("Patient numbers in both training and test", audit.shared_numbers),
        ("Most frequent sizes, in pixels", sizes),
    ]
    return [(title, entries) for title, entries in findings if entries]


def _align(table: Table) -> list[str]:
    rows = [list(table.header)]
    for title, cells in table.rows:
        rows.append([title, *(cell.value if isinstance(cell, Cell) else str(cell) for cell in cells)])
    first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))])
        for row in rows
    ]


def _collect_examples(dataset: Dataset) -> list[dict[str, Any]]:
    """Return some images of each class, evenly spaced in the table, each from a different patient."""
    shown = []
    for name, rows in group_by_label(dataset.table, dataset.label_set).items():
        firsts = dataset.table[rows].drop_duplicates("patient").index.to_numpy()
        chosen = firsts[np.linspace(0, len(firsts) - 1, min(_EXAMPLES, len(firsts))).round().astype(int)]
        shown.append({"title": name, "images": _show_images(dataset, chosen, f"Example of class {name}: ")})
    return shown


def _collect_duplicates(groups: list[list[str]], dataset: Dataset, prefix: str) -> list[dict[str, Any]]:
    row_of = {name: row for row, name in enumerate(dataset.table["name"])}
    shown = []
    for group in groups[:_DUPLICATES_SHOWN]:
        rows = [row_of[name] for name in group]
        crosses = dataset.table["split"].iloc[rows].nunique() > 1
        title = "In different splits" if crosses else ""
        shown.append({"title": title, "images": _show_images(dataset, rows, prefix)})
    return shown


def _show_images(dataset: Dataset, rows: Iterable[int], prefix: str) -> list[dict[str, str]]:
    shown = []
    for row in rows:
        name = dataset.table["name"].iloc[row]
        address = embed_image(Image.fromarray(dataset.images[row]), "PNG", optimize=True)
        shown.append({"address": address, "name": name, "alt": f"{prefix}{name}"})
    return shown


def _write_page(audit: Audit, dataset: Dataset, out_dir: Path) -> Path:
    findings, phantoms = _list_findings(audit), shows_phantoms(dataset)
    duplicates = [
        (title, len(groups), _collect_duplicates(groups, dataset, prefix))
        for title, groups, prefix in (
            (NEAR_DUPLICATES, audit.near_duplicates, "Same image: "),
            (EXACT_DUPLICATES, audit.exact_duplicates, "Same bytes: "),
        )
        if groups
    ]
    return write_page(
        out_dir / "audit.html",
        "audit.html.j2",
        sections={
            "notes": "Findings",
            "examples": "Examples of each class",
            **({"duplicates": "Duplicates"} if duplicates else {}),
            "exposure": "Exposure",
            **({"lists": "Lists"} if findings else {}),
        },
        phantoms=phantoms,
        of_kermany=not phantoms and dataset.label_set == KERMANY_LABELS,
        audit=audit,
        num_images=len(dataset),
        counts=tabulate_counts(
            "Images by split and class", audit.counts, audit.patients, audit.images, dataset.label_set
        ),
        findings=findings,
        exposure=save_page_figure(
            draw_exposures(dataset, title="Exposure"),
            out_dir / "exposure",
            caption="Histogram of the mean gray level by class.",
        ),
        exposure_table=tabulate_exposure(audit.exposure),
        examples=_collect_examples(dataset),
        duplicates=duplicates,
    )
