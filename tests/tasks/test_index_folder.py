import subprocess
import sys

import numpy as np
import pytest

from pneumoscope.errors import PneumoscopeError
from pneumoscope.tasks.index_folder import IndexFolder

# Adds three images at a time, says so, and is killed the moment that a file would be brought to the disk.
DYING_WRITER = """
import os, signal, sys
import numpy as np
from pneumoscope.tasks.index_folder import IndexFolder

folder, deaths, act = sys.argv[1], int(sys.argv[2]), sys.argv[3]
store, calls, bring = IndexFolder.open(folder), 0, os.fsync

def die(descriptor):
    global calls
    calls += 1
    if calls == deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    bring(descriptor)

os.fsync = die
for number in range(4):
    if act == "compact" and number:
        store.compact()
    names = [f"new {number} {place}" for place in range(3)]
    store.add(np.random.default_rng(number).normal(size=(3, 8)), names, names)
    print(number, flush=True)
"""


def fill(folder, kind="exact", count=30):
    store = IndexFolder.create(folder, 8, kind=kind)
    embeddings = np.random.default_rng(0).normal(size=(count, 8))
    store.add(embeddings, [f"film {row}" for row in range(count)], [f"p{row // 2}" for row in range(count)])
    return store, embeddings


@pytest.mark.parametrize("kind", ["exact", "flat", "hnsw"])
def test_an_opened_index_answers_as_the_one_that_was_closed(tmp_path, kind):
    if kind != "exact":
        pytest.importorskip("faiss")
    store, embeddings = fill(tmp_path / "index", kind)
    store.remove(["film 3", "film 8"])
    store.compact()
    store.add(-embeddings[:3], ["a", "b", "c"], ["x", "y", "z"])
    store.remove(["b", "film 0"])

    again = IndexFolder.open(tmp_path / "index")

    exclude = [[f"p{row // 2}"] for row in range(30)]
    for found, expected in zip(
        again.search(embeddings, 4, exclude=exclude), store.search(embeddings, 4, exclude=exclude), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert len(again) == len(store) == 29
    assert "film 3" not in again and "a" in again
    assert not np.isin(["film 3", "film 8", "film 0", "b"], again.search(embeddings, 30)[0]).any()


@pytest.mark.parametrize(("act", "deaths"), [("add", 1), ("add", 2), ("add", 3), ("compact", 3), ("compact", 4)])
def test_what_was_said_to_be_kept_survives_a_kill_in_the_middle_of_a_write(tmp_path, act, deaths):
    fill(tmp_path / "index")

    done = subprocess.run(
        [sys.executable, "-c", DYING_WRITER, str(tmp_path / "index"), str(deaths), act],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == -9, done.stderr
    told = 3 * len(done.stdout.split())
    again = IndexFolder.open(tmp_path / "index")
    kept = len(again) - 30
    assert kept in (told, told + 3), "an addition is there as a whole or not at all"
    assert all(f"film {row}" in again for row in range(30))
    assert all(f"new {number} {place}" in again for number in range(kept // 3) for place in range(3))
    again.add(np.ones((1, 8)), ["after"], ["after"])
    assert len(IndexFolder.open(tmp_path / "index")) == 31 + kept


def test_compacting_leaves_one_base_of_what_is_known(tmp_path):
    store, embeddings = fill(tmp_path / "index")
    store.remove(["film 1"])
    before = store.search(embeddings, 3)

    store.compact()

    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["00000003-base.npz", "index.json"]
    for found, expected in zip(store.search(embeddings, 3), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    store, embeddings = fill(tmp_path / "index")
    with pytest.raises(ValueError, match="'film 0' is in the index"):
        store.add(embeddings[:1], ["film 0"], ["p"])
    with pytest.raises(ValueError, match="a name stands twice"):
        store.add(embeddings[:2], ["new", "new"], ["p", "p"])
    with pytest.raises(ValueError, match="'film 99' is not in the index; expected names of its 30"):
        store.remove(["film 99"])
    with pytest.raises(PneumoscopeError, match="holds an index already"):
        IndexFolder.create(tmp_path / "index", 8)
    with pytest.raises(PneumoscopeError, match="holds no index"):
        IndexFolder.open(tmp_path)
    assert len(IndexFolder.open(tmp_path / "index")) == 30

    (tmp_path / "index" / "00000001-add.npz").write_bytes(b"torn")
    with pytest.raises(PneumoscopeError, match=r"00000001-add\.npz is damaged"):
        IndexFolder.open(tmp_path / "index")
