"""The notebooks run from their first cell to their last, on phantoms, and use nothing but the public names."""

import ast
import runpy
from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = ("train", "test")


@pytest.fixture
def plt():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    yield matplotlib.pyplot
    matplotlib.pyplot.close("all")


def test_the_notebooks_run_one_after_the_other(tmp_path, monkeypatch, plt):
    monkeypatch.delenv("DATA", raising=False)
    monkeypatch.delenv("CONFIGURATION", raising=False)
    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.setenv("EPOCHS", "2")

    runpy.run_path(str(NOTEBOOKS / "train.py"))
    trained = plt.get_fignums()
    seen = runpy.run_path(str(NOTEBOOKS / "test.py"))

    assert {path.name for path in tmp_path.iterdir()} >= {"binary", "three_class", "autoencoder", "anomaly.npz"}
    assert len(plt.get_fignums()) > len(trained) > 2
    assert seen["evaluations"]["binary"].metrics["accuracy"].n == 90


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_opens_in_jupyter_and_says_what_it_is_not(name):
    cells = jupytext.read(NOTEBOOKS / f"{name}.py").cells

    assert {cell.cell_type for cell in cells} == {"code", "markdown"}
    assert "Not a medical device" in cells[0].source


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_imports_only_the_package_itself(name):
    tree = ast.parse((NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8"))
    imported = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }

    assert "pneumoscope" in imported
    assert imported <= {"os", "dataclasses", "pathlib", "matplotlib.pyplot", "numpy", "pneumoscope"}
