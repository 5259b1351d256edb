"""Files that are no results are errors of this package."""

from pathlib import Path

import numpy as np
import pytest

from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.archive import load_result


def write_other_archive(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, images=np.zeros(3))


def write_other_result(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, result=np.array('{"kind": "Unknown", "fields": {}}'))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("text"), "cannot be read"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "cannot be read"),
        (write_other_archive, "without the entry `result`"),
        (write_other_result, "'Unknown'"),
    ],
)
def test_a_file_that_is_no_result_is_an_error(tmp_path: Path, write, reason: str) -> None:
    write(tmp_path / "a.npz")
    with pytest.raises(PneumoscopeError, match=f"{reason}.*expected a file that save_result wrote"):
        load_result(tmp_path / "a.npz")
