"""The same tests of tiny nets once more on each other backend of Keras that is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TINY = (
    "models/test_training.py",
    "tasks/test_neighbors.py",
    "tasks/test_explain.py::TestGradcam",
    "tasks/test_explain_methods.py",
)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_tiny_nets_run_on(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "default", *(str(TESTS / name) for name in TINY)]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
