"""The pictures of a study's images: read again from where the study read them, or drawn again where it drew them."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from pneumoscope.app.study_folder import OpenStudy
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.radiographs.image import load_image
from pneumoscope.radiographs.source import hash_file

NET_SIDE = 128
FILM_SIDE = 1024


class StudyPictures:
    """The images of one study by name.

    Args:
        study: the study.
        names: images that will be asked for, as its evaluations name them.
    """

    def __init__(self, study: OpenStudy, names: Collection[str]) -> None:
        self._study = study
        self._names = names
        self._lock = Lock()

    @property
    def drawn(self) -> bool:
        """Whether the study drew its images itself, in memory."""
        return self._study.request.get("source") is None

    def check_source(self) -> str:
        """Return why no picture can be shown, or nothing."""
        if self.drawn:
            return "" if self._count_phantoms else "The study does not tell how many phantoms it drew."
        source = Path(self._study.request["source"])
        if not source.exists():
            return (
                f"The study read its images from {source.name}, which is gone from where it stood. Its figures are "
                "here in full; to see the images too, put them back (study.json tells where)."
            )
        return ""

    def shows_phantoms(self) -> bool:
        """Return whether the images are drawn phantoms, as far as the study or its first image tells."""
        if self.drawn:
            return True
        told = read_results(self._study.folder).get("data")
        if isinstance(told, dict) and isinstance(told.get("phantoms"), bool):
            return bool(told["phantoms"])
        from pneumoscope.radiographs.phantoms import COMMENT

        for name in list(self._names)[:3]:
            try:
                with Image.open(self._find_file(name), formats=("JPEG", "PNG")) as image:
                    return image.info.get("comment") == COMMENT.encode()
            except (OSError, PneumoscopeError, ValueError, Image.DecompressionBombError):
                continue
        return False

    def load_net_view(self, name: str) -> np.ndarray:
        """Return `(128, 128)` uint8, the image as the nets saw it: squeezed to a square.

        Raises:
            PneumoscopeError: if the image is gone, has changed since the study, or cannot be read.
        """
        if self.drawn:
            return self._find_phantom(name)
        return np.rint(load_image(self._find_unchanged(name), size=NET_SIDE) * 255).astype(np.uint8)

    def load_film(self, name: str) -> np.ndarray:
        """Return `(h, w)` uint8, the whole image in its own proportions, at most 1024 pixels long.

        Raises:
            PneumoscopeError: see `load_net_view`.
        """
        if self.drawn:
            return self._find_phantom(name)
        film = Image.fromarray(np.rint(load_image(self._find_unchanged(name)) * 255).astype(np.uint8))
        film.thumbnail((FILM_SIDE, FILM_SIDE), Image.Resampling.BILINEAR)
        return np.asarray(film)

    def _find_file(self, name: str) -> Path:
        source = Path(self._study.request["source"])
        listed = source.suffix.lower() == ".csv"
        path = (source.parent if listed else source) / name
        # Only a manifest may name files outside of its own folder.
        if not path.is_file() or (not listed and ".." in Path(name).parts):
            raise ImageError(f"{name} is gone from where the study read it; put it back to see it")
        return path

    def _find_unchanged(self, name: str) -> Path:
        path = self._find_file(name)
        if self._known_hashes is not None and hash_file(path) not in self._known_hashes:
            raise ImageError(f"{name} has changed since the study read it, so it is not the image that was judged")
        return path

    @cached_property
    def _known_hashes(self) -> frozenset[str] | None:
        """Hashes of the files that the study decoded; None where it kept none."""
        for path in sorted((self._study.folder / "cache").glob(f"images-{NET_SIDE}-v*.npz")):
            try:
                with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                    return frozenset(archive["sha256"].tolist())
            except Exception:  # a damaged zip can raise anything; without the cache nothing is compared
                return None
        return None

    def _find_phantom(self, name: str) -> np.ndarray:
        with self._lock:  # one drawing for all who wait
            phantoms = self._phantoms
        if name not in phantoms:
            raise ImageError(f"{name} is not among the phantoms drawn again: the drawing has changed since the study")
        return phantoms[name]

    @cached_property
    def _count_phantoms(self) -> dict[str, int]:
        """Number of phantoms that the study drew, by split; empty where it does not tell."""
        audit = self._study.stages.get("audit")
        counts: dict[str, int] = {}
        for key, count in (audit.counts if audit is not None else {}).items():
            split = key.partition("/")[0]
            counts[split] = counts.get(split, 0) + count
        return counts if counts.get("train") and counts.get("test") else {}

    @cached_property
    def _phantoms(self) -> dict[str, np.ndarray]:
        from pneumoscope.radiographs.phantoms import phantom_dataset

        counts = self._count_phantoms
        if not counts:
            raise ImageError(self.check_source())
        drawn = phantom_dataset(num_train=counts["train"], num_test=counts["test"], seed=self._study.request["seed"])
        wanted = set(self._names)
        return {name: drawn.images[row].copy() for row, name in enumerate(drawn.table["name"]) if name in wanted}


def read_results(folder: Path) -> dict[str, Any]:
    """Return what stands in a study's `results.json`; nothing where there is none that can be read."""
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return results if isinstance(results, dict) else {}


def encode_png(image: np.ndarray) -> bytes:
    """Return `(h, w)` uint8 as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # Light compression: the file only travels within the machine.
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
