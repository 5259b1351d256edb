"""Task 2: an index of embeddings that is kept in a folder, grows and shrinks there, and survives being killed.

The folder is its own journal. Every change is one numbered file, written aside, brought to the disk and then renamed,
so that it is there as a whole or not at all:

    index.json          the kind of index and the length of an embedding
    00000001-add.npz    embeddings, names and patients of images that became known
    00000002-remove.npz names of images that are no more
    00000003-base.npz   all that was known then, beside 00000003-base.faiss, what FAISS made of it: earlier files
                        count no more

Opening it replays the changes since the last base. One process at a time may write.
"""

import json
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.errors import PneumoscopeError
from pneumoscope.tasks.index import EmbeddingIndex, Kind, build_index, scale_to_length_one

SETTINGS_NAME = "index.json"
_CHANGE = re.compile(r"(\d{8})-(add|remove|base)\.npz")


class IndexFolder:
    """Known images by name, in a folder.

    Attributes:
        folder: where they are kept.
        index: the same in memory.
    """

    def __init__(self, folder: Path, index: EmbeddingIndex) -> None:
        self.folder = folder
        self.index = index
        self._names: list[str] = []
        self._patients: list[str] = []
        self._rows: dict[str, int] = {}
        self._last = 0

    @classmethod
    def create(cls, folder: str | os.PathLike[str], dimension: int, *, kind: Kind = "exact") -> "IndexFolder":
        """Return a new, empty index.

        Args:
            folder: where to keep it; made if it is missing.
            dimension: numbers in an embedding.
            kind: see `pneumoscope.tasks.index`.

        Raises:
            PneumoscopeError: if the folder holds an index.
        """
        folder = Path(folder)
        if (folder / SETTINGS_NAME).exists():
            raise PneumoscopeError(f"{folder} holds an index already; open it, or give another folder")
        index = EmbeddingIndex(dimension, kind=kind)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"notice": RESEARCH_USE_ONLY, "kind": kind, "dimension": dimension}
        _write_whole(folder / SETTINGS_NAME, lambda stream: stream.write(json.dumps(settings).encode()))
        return cls(folder, index)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "IndexFolder":
        """Return the index of a folder, as the last whole change left it.

        Raises:
            PneumoscopeError: if there is none, or a file of it is damaged.
            MissingExtraError: if FAISS is needed and not installed.
        """
        folder = Path(folder)
        try:
            settings = json.loads((folder / SETTINGS_NAME).read_text(encoding="utf-8"))
            opened = cls(folder, EmbeddingIndex(int(settings["dimension"]), kind=settings["kind"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PneumoscopeError(f"{folder} holds no index ({error}); make one with IndexFolder.create") from None
        changes = _list_changes(folder)
        bases = [number for number, what, _ in changes if what == "base"]
        for number, what, path in changes:
            if number >= max(bases, default=0):
                opened._replay(what, path)
                opened._last = number
        return opened

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._rows)

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def add(self, embeddings: np.ndarray, names: Sequence[str], patients: Sequence[str]) -> None:
        """Make images known; once this returns, they are on the disk.

        Args:
            embeddings: `(n, d)` finite floats of any length.
            names: `n` names, each new to the index.
            patients: `n` names, whose image each is.

        Raises:
            ValueError: if a name is known or stands twice, the shapes do not fit, or a number is not finite.
        """
        units = scale_to_length_one(embeddings)
        if units.shape != (len(names), self.index.dimension) or len(names) != len(patients):
            counts = f"{len(names)} names and {len(patients)} patients"
            raise ValueError(f"embeddings are {units.shape} for {counts}, expected (n, {self.index.dimension})")
        known = [name for name in names if name in self._rows]
        if known or len(set(names)) < len(names):
            told = f"{known[0]!r} is in the index" if known else "a name stands twice"
            raise ValueError(f"{told}; expected names that are new. Remove an image to add it anew.")
        rows = self.index.add(units, patients)
        self._write("add", units=units, names=np.array(names, dtype=str), patients=np.array(patients, dtype=str))
        self._learn(names, patients, rows)

    def remove(self, names: Sequence[str]) -> None:
        """Forget images; once this returns, that is on the disk.

        Raises:
            ValueError: if a name is not known.
        """
        unknown = [name for name in names if name not in self._rows]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not in the index; expected names of its {len(self)} images")
        self._write("remove", names=np.array(names, dtype=str))
        self._forget(names)

    def search(
        self, queries: np.ndarray, count: int, *, exclude: Sequence[Collection[str]] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return `(m, count)` str names, nearest first, and `(m, count)` float32 distances; see `EmbeddingIndex`.

        Where there are no more, the name is empty and the distance infinite.
        """
        rows, distances = self.index.search(queries, count, exclude=exclude)
        names = [["" if row < 0 else self._names[row] for row in found] for found in rows]
        return np.array(names, dtype=str).reshape(rows.shape), distances

    def compact(self) -> None:
        """Write all that is known as one new base, learn the codes or the graph anew, and delete what it replaces."""
        rows = np.array(sorted(self._rows.values()), dtype=np.int64)
        names, patients = ([values[row] for row in rows] for values in (self._names, self._patients))
        units = self.index.embeddings(rows)
        index = build_index(units, patients, kind=self.index.kind)
        if index.graph is not None:
            import faiss

            target = self.folder / f"{self._last + 1:08}-base.faiss"
            _write_whole(target, lambda stream: stream.write(faiss.serialize_index(index.graph)))
        self._write("base", units=units, names=np.array(names, dtype=str), patients=np.array(patients, dtype=str))
        self.index, self._names, self._patients, self._rows = index, [], [], {}
        self._learn(names, patients, np.arange(len(names)))
        for number, _, path in _list_changes(self.folder):
            if number < self._last:
                path.unlink()
                path.with_suffix(".faiss").unlink(missing_ok=True)

    def _write(self, what: str, **arrays: np.ndarray) -> None:
        path = self.folder / f"{self._last + 1:08}-{what}.npz"
        _write_whole(path, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]
        self._last += 1

    def _replay(self, what: str, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as change:
                arrays = dict(change)
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise PneumoscopeError(f"{path} is damaged ({error}); restore it, or index the images anew") from None
        names = arrays["names"].tolist()
        if what == "remove":
            self._forget(names)
            return
        patients = arrays["patients"].tolist()
        graph = _read_graph(path.with_suffix(".faiss")) if what == "base" and self.index.kind != "exact" else None
        if graph is not None:
            self.index = EmbeddingIndex.restore(arrays["units"], patients, kind=self.index.kind, graph=graph)
            rows = np.arange(len(names))
        else:
            rows = self.index.add(arrays["units"], patients)
        self._learn(names, patients, rows)

    def _learn(self, names: Sequence[str], patients: Sequence[str], rows: np.ndarray) -> None:
        self._names.extend(names)
        self._patients.extend(patients)
        self._rows.update(zip(names, rows.tolist(), strict=True))

    def _forget(self, names: Sequence[str]) -> None:
        self.index.remove([self._rows.pop(name) for name in names])


def _list_changes(folder: Path) -> list[tuple[int, str, Path]]:
    found = [(_CHANGE.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), match[2], path) for match, path in found if match)


def _read_graph(path: Path) -> Any:
    if not path.exists():
        return None
    import faiss

    try:
        return faiss.deserialize_index(np.fromfile(path, dtype=np.uint8))
    except RuntimeError as error:
        raise PneumoscopeError(f"{path} is damaged ({error}); delete it, and what it holds is learned anew") from None


def _write_whole(path: Path, write: Any) -> None:
    """Write a file that is there as a whole or not at all, even if the power fails."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
