"""What TensorFlow's libraries print while they load is kept back, unless they fail to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("last_line", "fails"), [("name = 'loaded'", False), ("raise OSError('no AVX')", True)])
def test_a_library_is_heard_only_where_it_fails(tmp_path: Path, last_line: str, fails: bool) -> None:
    package = tmp_path / "tensorflow"
    package.mkdir()
    (package / "__init__.py").write_text(f"import os\nos.write(2, b'hear, hear')\n{last_line}\n")
    command = "import importlib.util, pneumoscope.models; importlib.util.find_spec('tensorflow'); import tensorflow"

    found = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.returncode != 0) == fails
    assert ("hear, hear" in found.stderr) == fails
