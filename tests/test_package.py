"""The house as a whole: light to enter, and every name on the door leads somewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import pneumoscope
from pneumoscope.phantoms.phantom import draw_phantoms

HEAVY = {"keras", "tensorflow", "jax", "torch", "pandas", "scipy", "matplotlib", "sklearn", "cv2", "openTSNE", "PIL"}


def modules_loaded_by(statement: str) -> set[str]:
    """Run `statement` in a fresh process and return the top-level modules that it loaded."""
    code = f"""
import json, sys
try:
    {statement}
finally:
    print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import pneumoscope",
        "sys.argv = ['pneumoscope', '--help']; from pneumoscope.cli.main import main; main()",
        "sys.argv = ['pneumoscope', 'study', '--help']; from pneumoscope.cli.main import main; main()",
    ],
    ids=["import", "help", "study-help"],
)
def test_starting_loads_nothing_heavy(statement):
    loaded = modules_loaded_by(statement)

    assert "pneumoscope" in loaded
    assert loaded & HEAVY == set()


def test_evaluating_loads_no_keras(tmp_path):
    for number, image in enumerate(draw_phantoms(4, size=128, seed=0).images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "films.csv").write_text("path,label\n0.png,normal\n1.png,normal\n2.png,viral\n3.png,bacterial")
    words = ["pneumoscope", "evaluate", "--data", str(tmp_path / "films.csv")]
    loaded = modules_loaded_by(f"sys.argv = {words}; from pneumoscope.cli.main import app; app(standalone_mode=False)")

    assert "onnxruntime" in loaded
    assert loaded & {"keras", "tensorflow", "jax", "torch", "mapie", "statsmodels", "matplotlib"} == set()


def test_the_check_of_what_is_loaded_sees_a_heavy_module():
    assert "pandas" in modules_loaded_by("import pneumoscope; pneumoscope.load_dataset") & HEAVY


@pytest.mark.parametrize("name", pneumoscope.__all__)
def test_every_public_name_leads_somewhere(name):
    assert getattr(pneumoscope, name)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match="run_study"):
        _ = pneumoscope.read_minds


def test_help_says_what_it_is_and_what_it_is_not():
    command = Path(sys.executable).with_name("pneumoscope")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert "study" in done.stdout
    assert pneumoscope.RESEARCH_USE_ONLY in done.stdout
