import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
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
    groups = (audit.notes, *audit.exact_duplicates, *audit.near_duplicates)
    assert all(name in text for group in groups for name in group)
    row = next(line.split() for line in text.splitlines() if line.startswith("test "))
    numbers = [audit.counts[f"test/{name}"] for name in KERMANY_LABELS.classes]
    share = f"{100 * audit.negative_share['test']:.1f}%"
    assert row[1:] == [*map(str, (*numbers, sum(numbers))), share, str(audit.patients["test"])]


def test_long_lists_are_cut_in_the_text(written: tuple[Audit, Path]) -> None:
    audit = replace(written[0], shared_numbers=[f"person{number}" for number in range(170)])
    text = format_audit(audit, KERMANY_LABELS)
    assert "person11\n  158 more in audit.json" in text and "person12" not in text


def test_page_shows_examples_and_duplicates(written: tuple[Audit, Path], flawed: Dataset, read_page: Callable) -> None:
    page = read_page(written[1])
    radiographs = [image for image in page.images if image["src"].startswith("data:image/png")]
    assert len(radiographs) == 3 * 4 + 2 + 2
    assert sum(image["alt"].startswith("Same bytes") for image in radiographs) == 2
    assert sum(image["alt"].startswith("Same image") for image in radiographs) == 2
    shown = next(image for image in page.images if image["alt"] == "Same bytes: test/copy.jpeg")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["src"].partition(",")[2]))))
    np.testing.assert_array_equal(pixels, flawed.images[0])
    assert "script" not in page.tags and "<b>brighter" not in page.source and "<script>alert(1)" in page.text
    assert "phantoms, not radiographs" in page.text and PHANTOM_NOTE in page.text and "Kermany" not in page.text
