"""The variants of a recipe as one table in Markdown."""

from collections.abc import Sequence
from pathlib import Path

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.report.templates import make_environment
from pneumoscope.tasks.ablate import VARIANTS, Ablation, spread_seeds

PROTOCOL_TITLES = {
    "patients": "Held out by patient, five parts",
    "series": "Held out by series of file names, two parts",
    "images": "Held out by image, five parts: leaks, for comparison only",
}


def write_ablation_table(found: Sequence[Ablation], path: Path, *, recipe: str, epochs: int, command: str) -> None:
    """Write how the variants of a recipe did.

    Args:
        found: one entry a variant, protocol and seed.
        path: of the Markdown file.
        recipe: name of the recipe.
        epochs: that each net was trained for.
        command: that leads to the table.
    """
    spreads = spread_seeds(found)
    template = make_environment(autoescape=False).get_template("ablations.md.j2")
    groups = [
        (
            title,
            [entry for entry in found if entry.protocol == protocol],
            [spread for spread in spreads if spread.protocol == protocol],
        )
        for protocol, title in PROTOCOL_TITLES.items()
        if any(entry.protocol == protocol for entry in found)
    ]
    text = template.render(
        notice=RESEARCH_USE_ONLY, groups=groups, titles=VARIANTS, recipe=recipe, epochs=epochs, command=command
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
