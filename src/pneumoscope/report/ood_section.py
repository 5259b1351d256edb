"""What the gate before the models lets through, as a part of a page."""

from __future__ import annotations

from dataclasses import dataclass

from pneumoscope.io.results import OODCheck
from pneumoscope.report.tables import Cell, word_cell
from pneumoscope.report.wording import word_estimate

_ORIGINS = {
    "usual": "Films of the collection",
    "learned": "Made of them; of kinds that the gate has learned from",
    "unseen": "Made of them; of kinds that the gate has never seen",
    "other": "From elsewhere",
}


@dataclass(frozen=True)
class GateSection:
    """What `ood.html.j2` shows, as its variable `gate`.

    Attributes:
        split: whose films all was made of.
        groups: `(title, rows)`, each row `(kind, images, flagged, refused, reason)`.
        sentences: what the figures say.
    """

    split: str
    groups: list[tuple[str, list[tuple[str, int, Cell, Cell, str]]]]
    sentences: list[str]


def present_gate(check: OODCheck) -> GateSection:
    """Word what was measured."""
    groups = []
    for origin, title in _ORIGINS.items():
        rows = [
            (
                kind.kind,
                kind.flagged.n,
                word_cell("flagged", kind.flagged),
                word_cell("flagged", kind.refused),
                kind.reason or "-",
            )
            for kind in check.kinds
            if kind.origin == origin
        ]
        if rows:
            groups.append((title, rows))
    return GateSection(check.split, groups, write_gate_check(check))


def write_gate_check(check: OODCheck) -> list[str]:
    """Return what the figures say, in sentences."""
    usual, *others = check.kinds
    sentences = [
        f"Of {usual.flagged.n:,} usual films {word_estimate('flagged', usual.refused)} are refused and "
        f"{word_estimate('flagged', usual.flagged)} are flagged, refused ones included."
    ]
    unseen = [kind for kind in others if kind.origin == "unseen"]
    if unseen:
        weakest = min(unseen, key=lambda kind: kind.flagged.value)
        sentences.append(
            f"Of the kinds that the gate has never seen it is weakest on: {weakest.kind}, of which it flags "
            f"{word_estimate('flagged', weakest.flagged)}."
        )
    return sentences
