"""The package as a whole: a light import, and public names that resolve."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import pneumoscope
from pneumoscope.phantoms.phantom import draw_phantoms

HEAVY = {
    *("keras", "tensorflow", "jax", "torch", "pandas", "scipy", "matplotlib", "sklearn", "cv2", "openTSNE", "PIL"),
    *("pynetdicom", "dicomweb_client", "requests"),
}
RUN_MAIN = "from pneumoscope.cli.main import app; app(standalone_mode=False)"


def list_loaded_modules(statement):
    """Run `statement` in a fresh process; return the top-level modules that it loaded, and what it printed."""
    code = f"""
import json, sys
try:
    {statement}
finally:
    print()
    print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    printed, _, modules = done.stdout.rstrip().rpartition("\n")
    return set(json.loads(modules)), printed


@pytest.mark.parametrize("words", [None, ["--help"], ["study", "--help"], ["listen", "--help"]])
def test_import_and_help_load_nothing_heavy(words):
    statement = f"sys.argv = {['pneumoscope', *words]}; {RUN_MAIN}" if words else "import pneumoscope"
    loaded, printed = list_loaded_modules(statement)

    assert "pneumoscope" in loaded
    assert loaded & HEAVY == set()
    if words == ["--help"]:
        assert "study" in printed and pneumoscope.RESEARCH_USE_ONLY in " ".join(printed.split())


def test_evaluating_loads_no_keras(tmp_path):
    for number, image in enumerate(draw_phantoms(4, size=128, seed=0).images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "images.csv").write_text("path,label\n0.png,normal\n1.png,normal\n2.png,viral\n3.png,bacterial")
    words = ["pneumoscope", "evaluate", str(tmp_path / "images.csv")]
    loaded, _ = list_loaded_modules(f"sys.argv = {words}; {RUN_MAIN}")

    assert "onnxruntime" in loaded
    assert loaded & {"keras", "tensorflow", "jax", "torch", "mapie", "statsmodels", "matplotlib"} == set()


def test_a_heavy_module_is_reported():
    assert "pandas" in list_loaded_modules("import pneumoscope; pneumoscope.load_dataset")[0] & HEAVY


@pytest.mark.parametrize("name", pneumoscope.__all__)
def test_every_public_name_resolves(name):
    assert getattr(pneumoscope, name)


def test_the_stub_lists_the_public_names():
    stub = Path(pneumoscope.__file__).with_suffix(".pyi").read_text()
    imported = {
        alias.asname for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    assert set(pneumoscope.__all__) == imported | {"RESEARCH_USE_ONLY", "__version__"}
    assert set(pneumoscope.__all__) <= set(dir(pneumoscope))
    assert {"Reader", "Reading", "HeatmapExplanation", "SavedModel", "Dataset", "load_image", "ImageError"} <= imported


@pytest.mark.parametrize("name", sorted(set(pneumoscope.__all__) - {"ImageInput"}))
def test_every_public_name_is_documented(name):
    value = getattr(pneumoscope, name)
    assert not callable(value) or len(inspect.getdoc(value) or "") > 30


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="read_minds"):
        _ = pneumoscope.read_minds
