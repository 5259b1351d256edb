"""Tests of small models, run again on each other Keras backend that is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pneumoscope.phantoms.phantom import write_phantoms

TESTS = Path(__file__).parent
PARTS = ("models/test_training.py", "models/test_keras_file.py", "neighbors/test_knn.py", "explain")


@pytest.mark.integration
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_small_models_run_on_another_backend(backend):
    pytest.importorskip(backend)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "default", *(str(TESTS / name) for name in PARTS)]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.integration
def test_training_on_two_devices_equals_one_device(tmp_path):
    pytest.importorskip("jax")
    # The last batch of an epoch and the validation batch have odd sizes.
    write_phantoms(tmp_path / "phantoms", num_train=110, num_test=31, size=64, seed=0)
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }

    def train(name, devices):
        settings = ("--configuration", "improved", "--epochs", "2", "--size", "64", "--batch-size", "16")
        words = ("train", "phantoms", "--out", name, "--devices", str(devices), *settings)
        done = subprocess.run(
            [sys.executable, "-m", "pneumoscope.cli.main", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == (2 if devices > 2 else 0), done.stderr[-3000:]
        return done.stderr

    assert "JAX has 2: cpu:0, cpu:1" in train("three", 3)
    train("one", 1)
    train("two", 2)
    one, two = (pd.read_csv(tmp_path / name / "history.csv").drop(columns="seconds") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=0, atol=1e-3)
