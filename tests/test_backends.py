"""Tests of small models, run again on each other Keras backend that is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PARTS = ("models/test_training.py", "models/test_keras_file.py", "neighbors/test_knn.py", "explain")


@pytest.mark.integration
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_small_models_run_on_another_backend(backend):
    pytest.importorskip(backend)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "default", *(str(TESTS / name) for name in PARTS)]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
