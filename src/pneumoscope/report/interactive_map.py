"""The data of an interactive map in a page that needs no network: places, names, and thumbnails of all images."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pneumoscope.report.figures.palette import CLASS_COLORS, SOFT
from pneumoscope.report.templates import embed_json

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset
    from pneumoscope.io.results import EmbeddingMap

THUMBNAIL_SIDE = 32
THUMBNAILS_ACROSS = 64
JPEG_QUALITY = 60


def write_map_data(embedding_map: EmbeddingMap, dataset: Dataset | None) -> str:
    """Return what `map.js` needs of a map, as JSON that may stand in a page.

    Args:
        embedding_map: the map.
        dataset: the images on it, by name; without it no thumbnails are shown.
    """
    nearest = (
        embedding_map.nearest
        if embedding_map.nearest is not None
        else np.empty((len(embedding_map.names), 0), dtype=np.int64)
    )
    labels = [embedding_map.classes[label] if label >= 0 else None for label in embedding_map.labels.tolist()]
    return embed_json(
        {
            "classes": list(embedding_map.classes),
            "colors": {name: CLASS_COLORS.get(name, SOFT) for name in embedding_map.classes},
            "names": embedding_map.names.tolist(),
            "labels": labels,
            "coordinates": [[float(f"{value:.5g}") for value in point] for point in embedding_map.coordinates.tolist()],
            "emphasized": (embedding_map.origins != "train").tolist(),
            "nearest": [[row for row in rows if row >= 0] for rows in nearest.tolist()],
            "thumbnails": None if dataset is None else _draw_thumbnails(embedding_map, dataset),
        }
    )


def _draw_thumbnails(embedding_map: EmbeddingMap, dataset: Dataset) -> dict[str, Any]:
    """Return one picture of all images, small, in the order of the map, and which of them it shows."""
    row_of = {name: row for row, name in enumerate(dataset.table["name"])}
    num_rows = -(-len(embedding_map.names) // THUMBNAILS_ACROSS)
    sprite = Image.new("L", (THUMBNAILS_ACROSS * THUMBNAIL_SIDE, num_rows * THUMBNAIL_SIDE))
    shown = [
        origin != "new" and name in row_of
        for name, origin in zip(embedding_map.names, embedding_map.origins, strict=True)
    ]
    for place in np.flatnonzero(shown).tolist():
        image = Image.fromarray(dataset.images[row_of[embedding_map.names[place]]]).resize(
            (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        )
        down, across = divmod(place, THUMBNAILS_ACROSS)
        sprite.paste(image, (THUMBNAIL_SIDE * across, THUMBNAIL_SIDE * down))
    buffer = io.BytesIO()
    sprite.save(buffer, "JPEG", quality=JPEG_QUALITY)
    address = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"address": address, "side": THUMBNAIL_SIDE, "across": THUMBNAILS_ACROSS, "shown": shown}
