"""The API reference documents every public name."""

import re
from pathlib import Path

import pneumoscope

PAGES = Path(__file__).parents[1] / "docs" / "reference" / "api"
ENTRY = re.compile(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)$", re.MULTILINE)


def test_each_public_name_has_one_entry():
    entries = [
        name.rpartition(".")[2] for page in PAGES.glob("*.md") for name in ENTRY.findall(page.read_text("utf-8"))
    ]

    assert len(entries) == len(set(entries))
    assert set(pneumoscope.__all__) - {"RESEARCH_USE_ONLY", "__version__"} <= set(entries)
