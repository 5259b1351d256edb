"""Data of the interactive map of a page: coordinates, names, and thumbnails of all images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from pneumoscope.report.figures.palette import class_style, embed_image
from pneumoscope.report.templates import embed_json

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset
    from pneumoscope.io.results import EmbeddingMap

THUMBNAIL_SIDE = 32
THUMBNAILS_ACROSS = 64
JPEG_QUALITY = 60


def write_map_data(embedding_map: EmbeddingMap, dataset: Dataset | None, *, negative: str | None = None) -> str:
    """Return the data of one map as JSON for a `<script>` of a page; see `map.js`.

    Args:
        embedding_map: the map.
        dataset: the images on the map, matched by name; without a dataset the map has no thumbnails. New images
            have none.
        negative: the negative class; by default guessed from the classes.
    """
    names, origins = embedding_map.names.tolist(), embedding_map.origins.tolist()
    row_of = {} if dataset is None else {name: row for row, name in enumerate(dataset.table["name"])}
    rows = [None if origin == "new" else row_of.get(name) for name, origin in zip(names, origins, strict=True)]
    unknown: list[list[int]] = [[]] * len(names)
    nearest = unknown if embedding_map.nearest is None else embedding_map.nearest.tolist()
    labels = [embedding_map.classes[label] if label >= 0 else None for label in embedding_map.labels.tolist()]
    return embed_json(
        {
            "classes": list(embedding_map.classes),
            "styles": class_style(embedding_map.classes, negative),
            "names": names,
            "labels": labels,
            "coordinates": [[float(f"{value:.5g}") for value in point] for point in embedding_map.coordinates.tolist()],
            "emphasized": (embedding_map.origins != "train").tolist(),
            "nearest": [[number for number in numbers if number >= 0] for numbers in nearest],
            "thumbnails": rows,
        }
    )


def write_thumbnails(dataset: Dataset) -> str:
    """Return one image with a thumbnail of every image of a dataset, row by row, as JSON for all maps of a page."""
    num_rows = -(-len(dataset.images) // THUMBNAILS_ACROSS)
    sheet = Image.new("L", (THUMBNAILS_ACROSS * THUMBNAIL_SIDE, num_rows * THUMBNAIL_SIDE))
    for number, image in enumerate(dataset.images):
        down, across = divmod(number, THUMBNAILS_ACROSS)
        thumbnail = Image.fromarray(image).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        sheet.paste(thumbnail, (THUMBNAIL_SIDE * across, THUMBNAIL_SIDE * down))
    address = embed_image(sheet, "JPEG", quality=JPEG_QUALITY)
    return embed_json({"address": address, "side": THUMBNAIL_SIDE, "across": THUMBNAILS_ACROSS})
