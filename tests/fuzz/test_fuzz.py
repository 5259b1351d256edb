"""Mutated files are read, or rejected with an error of this package: no other error, no hang, bounded memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.integration
@pytest.mark.parametrize("files", ["images", "model files", "study files"])
def test_mutated_files_are_values_or_errors_of_this_package(files):
    command = [sys.executable, str(Path(__file__).with_name("mutations.py")), files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert found["slowest"] < 10
    assert found["peak"] < 1 << 30
    # Some mutations of each kind are harmless; else the files were no files of that kind in the first place.
    assert any(found["values"].values())
