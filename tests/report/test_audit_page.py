import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.audit import audit_dataset
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.io.results import Audit
from pneumoscope.phantoms.phantom import PHANTOM_NOTE
from pneumoscope.report.audit_page import format_audit, write_audit


class Page(HTMLParser):
    """Images and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        attributes = dict(attrs)
        if tag == "img":
            self.images.append(attributes)
        self.addresses += [attributes[key] for key in ("src", "href", "srcset") if key in attributes]


@pytest.fixture(scope="module")
def flawed(phantoms: Dataset) -> Dataset:
    """Phantoms with an exact copy in test, a brighter copy, and a file left out whose name is hostile."""
    test_row = int(phantoms.rows("test")[0])
    more = phantoms.table.iloc[[0, 1]].assign(name=["test/copy.jpeg", "train/<b>brighter</b>.jpeg"], split="test")
    more["sha256"] = [phantoms.table["sha256"][0], "another"]
    more["patient"] = phantoms.table["patient"][test_row]
    brighter = np.clip(phantoms.images[1].astype(int) + 20, 0, 255).astype(np.uint8)
    images = np.concatenate([phantoms.images, phantoms.images[:1], brighter[None]])
    skipped = pd.DataFrame({"name": ["train/<script>alert(1)</script>.jpeg"], "reason": ["empty file"]})
    table = pd.concat([phantoms.table, more], ignore_index=True)
    return replace(phantoms, images=images, table=table, skipped=skipped, masks=None)


@pytest.fixture(scope="module")
def written(flawed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Path]:
    audit = audit_dataset(flawed)
    return audit, write_audit(audit, flawed, tmp_path_factory.mktemp("audit") / "new" / "audit")


def test_all_files_carry_the_notice(written: tuple[Audit, Path]) -> None:
    audit, page = written
    assert page.name == "audit.html"
    for name in ("audit.txt", "audit.json", "audit.html", "exposure.svg"):
        assert RESEARCH_USE_ONLY in (page.parent / name).read_text(encoding="utf-8")
    assert (page.parent / "audit.txt").read_text(encoding="utf-8") == format_audit(audit, KERMANY_LABELS)
    kept = json.loads((page.parent / "audit.json").read_text(encoding="utf-8"))
    assert Audit(**{key: kept[key] for key in audit.__dataclass_fields__}) == audit


def test_text_holds_every_count_and_finding(written: tuple[Audit, Path]) -> None:
    audit, _ = written
    text = format_audit(audit, KERMANY_LABELS)
    for note in audit.notes:
        assert note in text
    for group in (*audit.exact_duplicates, *audit.near_duplicates):
        assert all(name in text for name in group)
    row = next(line.split() for line in text.splitlines() if line.startswith("test "))
    classes = ("normal", "bacterial", "viral")
    numbers = [audit.counts[f"test/{name}"] for name in classes]
    assert row[1:] == [
        *map(str, (*numbers, sum(numbers))),
        f"{100 * audit.negative_share['test']:.1f}%",
        str(audit.patients["test"]),
    ]


def test_long_lists_are_cut_in_the_text(written: tuple[Audit, Path]) -> None:
    audit = Audit(**{**written[0].__dict__, "shared_numbers": [f"person{number}" for number in range(170)]})
    text = format_audit(audit, KERMANY_LABELS)
    assert "person11\n  158 more in audit.json" in text and "person12" not in text


def test_page_needs_no_network_and_describes_every_image(written: tuple[Audit, Path], flawed: Dataset) -> None:
    _, path = written
    page = Page(path.read_text(encoding="utf-8"))
    assert all(address.startswith(("data:", "#", "https://doi.org/")) for address in page.addresses)
    assert all(image["alt"].strip() for image in page.images)
    assert "@import" not in path.read_text(encoding="utf-8")
    radiographs = [image for image in page.images if image["src"].startswith("data:image/png")]
    assert len(radiographs) == 3 * 4 + 2 + 2
    assert sum(image["alt"].startswith("Same bytes") for image in radiographs) == 2
    assert sum(image["alt"].startswith("Same image") for image in radiographs) == 2
    shown = next(image for image in page.images if image["alt"] == "Same bytes: test/copy.jpeg")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["src"].partition(",")[2]))))
    np.testing.assert_array_equal(pixels, flawed.images[0])


def test_page_is_escaped_adaptive_and_marked_as_phantoms(written: tuple[Audit, Path]) -> None:
    text = written[1].read_text(encoding="utf-8")
    assert "<script" not in text and "<b>brighter" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text and 'lang="en"' in text
    assert len(re.findall(r"<h1", text)) == 1
    assert "phantoms, not radiographs" in text and PHANTOM_NOTE in text and "Kermany" not in text
