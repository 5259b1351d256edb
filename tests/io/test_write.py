"""Atomic writes: mode of files and folders, and no half-written file."""

import stat

import pytest

from pneumoscope.io.write import atomic_write


def get_mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_is_for_the_user_only(tmp_path):
    path = tmp_path / "a" / "b" / "table.csv"
    with atomic_write(path, private=True) as partial:
        assert get_mode(partial) == 0o600
        partial.write_text("x")

    assert [get_mode(one) for one in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]
    assert path.read_text() == "x" and list(path.parent.iterdir()) == [path]


def test_an_existing_file_becomes_private_and_its_folder_stays_as_it_is(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    with atomic_write(path, private=True) as partial:
        partial.write_text("new")

    assert (path.read_text(), get_mode(path), get_mode(tmp_path)) == ("new", 0o600, 0o755)


@pytest.mark.parametrize("private", [False, True])
def test_a_failed_write_leaves_the_file_as_it_was(tmp_path, private):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="no space"), atomic_write(path, private=private) as partial:
        partial.write_text("half")
        raise ValueError("no space")

    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_private_file_do_not_disturb_each_other(tmp_path):
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    path, barrier = tmp_path / "new" / "report.dcm", Barrier(4)

    def write(number):
        with atomic_write(path, private=True) as partial:
            partial.write_text(str(number))
            barrier.wait(timeout=30)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert path.read_text() in "0123" and list(path.parent.iterdir()) == [path]
