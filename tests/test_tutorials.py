"""The tutorials show the notice, use public names only and store no outputs; the documentation build runs them."""

import ast
import json
from pathlib import Path

import pytest

import pneumoscope

TUTORIALS = sorted((Path(__file__).parents[1] / "docs" / "tutorials").glob("*.ipynb"))
LIBRARIES = {"dataclasses", "matplotlib.pyplot", "numpy", "pandas", "pathlib", "tempfile"}
LIBRARIES |= {"sklearn.calibration", "sklearn.covariance", "sklearn.metrics"}


def read_cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def parse_code(path):
    code = ["".join(cell["source"]) for cell in read_cells(path) if cell["cell_type"] == "code"]
    return ast.parse("\n".join(code))


def test_there_are_five_tutorials():
    assert {path.stem for path in TUTORIALS} == {
        "train_and_evaluate",
        "read_and_explain",
        "evaluate_your_data",
        "anomaly_detection",
        "embeddings_and_knn",
    }


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_shows_the_notice_and_stores_no_outputs(path):
    cells = read_cells(path)

    assert pneumoscope.RESEARCH_USE_ONLY in "".join(cells[0]["source"])
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_uses_public_names_only(path):
    tree = parse_code(path)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    imported = {alias.name for node in imports for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ps"
    }

    assert imported <= {"pneumoscope", *LIBRARIES}
    assert used
    assert used <= set(pneumoscope.__all__)
