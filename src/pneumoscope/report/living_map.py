"""A map to point at and to draw loops on, as part of a page that needs no network: its data, and all films small."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pneumoscope.report.figures.palette import CLASS_COLORS, SOFT

if TYPE_CHECKING:
    from pneumoscope.radiographs.dataset import Dataset
    from pneumoscope.results import EmbeddingMap

THUMBNAIL_SIDE = 32
THUMBNAILS_ACROSS = 64
JPEG_QUALITY = 60
ORIGINS = ("train", "test", "new")


def write_map_data(drawn: EmbeddingMap, dataset: Dataset | None) -> str:
    """Return what `map.js` needs of a map, as JSON that may stand in a page.

    Args:
        drawn: the map.
        dataset: the films on it, by name; without it they are not shown.
    """
    low, high = drawn.coordinates.min(axis=0), drawn.coordinates.max(axis=0)
    scaled = (drawn.coordinates - low) / np.where(high > low, high - low, 1)
    nearest = drawn.nearest if drawn.nearest is not None else np.empty((len(drawn.names), 0), dtype=np.int64)
    data: dict[str, Any] = {
        "x": scaled[:, 0].round(4).tolist(),
        "y": scaled[:, 1].round(4).tolist(),
        "names": drawn.names.tolist(),
        "labels": drawn.labels.tolist(),
        "origins": [ORIGINS.index(origin) for origin in drawn.origins.tolist()],
        "classes": list(drawn.classes),
        "colors": [CLASS_COLORS.get(name, SOFT) for name in drawn.classes],
        "nearest": [[row for row in rows if row >= 0] for rows in nearest.tolist()],
        "side": THUMBNAIL_SIDE,
        "across": THUMBNAILS_ACROSS,
        "sprite": None if dataset is None else _draw_sprite(drawn, dataset),
    }
    # Text of a script ends at the first </script>, wherever it stands.
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _draw_sprite(drawn: EmbeddingMap, dataset: Dataset) -> str:
    """Return one picture of all films, small, in the order of the map: a data address."""
    row_of = {name: row for row, name in enumerate(dataset.table["name"])}
    num_rows = -(-len(drawn.names) // THUMBNAILS_ACROSS)
    sprite = Image.new("L", (THUMBNAILS_ACROSS * THUMBNAIL_SIDE, num_rows * THUMBNAIL_SIDE))
    for place, (name, origin) in enumerate(zip(drawn.names, drawn.origins, strict=True)):
        if origin != "new" and name in row_of:
            film = Image.fromarray(dataset.images[row_of[name]]).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            down, across = divmod(place, THUMBNAILS_ACROSS)
            sprite.paste(film, (THUMBNAIL_SIDE * across, THUMBNAIL_SIDE * down))
    buffer = io.BytesIO()
    sprite.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
