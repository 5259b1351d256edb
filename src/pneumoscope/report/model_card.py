"""A model's card for people: what it is for, what it was trained on, how well it does, and where it fails."""

from pathlib import Path
from typing import Any

from pneumoscope.report.templates import make_environment


def write_model_card(card: dict[str, Any], path: Path) -> None:
    """Write the card of an exported model as Markdown.

    Args:
        card: the content of its `card.json`.
        path: of the file.
    """
    template = make_environment(autoescape=False).get_template("model_card.md.j2")
    path.write_text(template.render(card=card), encoding="utf-8")
