"""The notebooks run on phantoms and use public names only."""

import ast
import runpy
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = ("train", "test")


@pytest.mark.integration
def test_the_notebooks_run_one_after_the_other(tmp_path, monkeypatch):
    plt.switch_backend("Agg")
    for name, value in {"DATA": "", "CONFIGURATION": "improved", "OUT": str(tmp_path), "EPOCHS": "2"}.items():
        monkeypatch.setenv(name, value)

    runpy.run_path(str(NOTEBOOKS / "train.py"))
    num_figures = len(plt.get_fignums())
    variables = runpy.run_path(str(NOTEBOOKS / "test.py"))

    assert {path.name for path in tmp_path.iterdir()} >= {"binary", "three_class", "autoencoder", "anomaly.npz"}
    assert len(plt.get_fignums()) > num_figures > 2
    assert variables["evaluations"]["binary"].metrics["accuracy"].n == 90
    plt.close("all")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_opens_in_jupyter_and_shows_the_notice(name):
    cells = jupytext.read(NOTEBOOKS / f"{name}.py").cells

    assert {cell.cell_type for cell in cells} == {"code", "markdown"}
    assert "Not a medical device" in cells[0].source


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_imports_public_names_only(name):
    tree = ast.parse((NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8"))
    imported = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }

    assert "pneumoscope" in imported
    assert imported <= {"os", "dataclasses", "pathlib", "matplotlib.pyplot", "numpy", "pneumoscope"}
