"""Heatmaps and other maps of a radiograph."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.data.image import find_content

MAX_SIDE = 2048

_OPACITY = 0.65
# Stops of the inferno color map of matplotlib (CC0), at equal distances.
_INFERNO = np.array(
    [
        *([0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85]),
        *([227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164]),
    ]
)


@dataclass(frozen=True)
class ReadingMaps:
    """The maps that belong to a reading.

    Attributes:
        heatmaps: `(classes, h, w)` float32, not negative: the evidence for each class at each position of the last
            feature map; None if the classifier has no class activation maps.
        anomaly_map: `(H, W)` float32 in [0, 1]. Over all positions in held-out normals, 0 is the median and 1 the
            99.9 % quantile; values are clipped. None without a normality model.
        position: `(2,)` float32, coordinates on the map of reference cases; None without reference cases.
    """

    heatmaps: NDArray[np.float32] | None
    anomaly_map: NDArray[np.float32] | None
    position: NDArray[np.float32] | None


@dataclass(frozen=True, repr=False)
class HeatmapExplanation:
    """The evidence for one class in one radiograph.

    Attributes:
        path: file of the radiograph; empty for bytes, PIL images and arrays.
        label: the class.
        heatmap: `(H, W)` float32 in [0, 1]: the class activation map, upsampled to the size of `image`. The largest
            value is 1, or 0 if there is no evidence for the class.
        image: `(H, W)` uint8, the radiograph with its own aspect ratio and sides of at most 2,048 pixels.
    """

    path: str
    label: str
    heatmap: NDArray[np.float32]
    image: NDArray[np.uint8]

    def overlay(self) -> Image.Image:
        """Return the heatmap over the radiograph, as an RGB image of the size of `image`."""
        stops = np.linspace(0, 1, len(_INFERNO))
        colors = np.stack([np.interp(self.heatmap, stops, channel) for channel in _INFERNO.T], axis=-1)
        opacity = _OPACITY * np.sqrt(self.heatmap)[..., None]  # the square root keeps low values visible
        return Image.fromarray(np.rint((1 - opacity) * self.image[..., None] + opacity * colors).astype(np.uint8))

    def __repr__(self) -> str:
        """Return the fields without their pixels."""
        shape = "x".join(map(str, self.heatmap.shape))
        return f"HeatmapExplanation(path={self.path!r}, label={self.label!r}, shape={shape})"

    def _repr_png_(self) -> bytes:
        """Return the overlay as PNG, which Jupyter displays."""
        stream = io.BytesIO()
        self.overlay().save(stream, format="PNG")
        return stream.getvalue()


def shrink(gray: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a radiograph in [0, 1] with its aspect ratio and sides of at most 2,048 pixels."""
    image = Image.fromarray(gray)
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BILINEAR, reducing_gap=None)
    return np.asarray(np.clip(np.asarray(image), 0, 1))


def resize_heatmap(heatmap: NDArray[np.float32], radiograph: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a heatmap in [0, 1] at the height and width of a radiograph, empty on uniform bars at its sides."""
    left, top, right, bottom = find_content(radiograph)
    resized = Image.fromarray(heatmap).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    placed = np.zeros(radiograph.shape, np.float32)
    placed[top:bottom, left:right] = np.clip(np.asarray(resized), 0, 1)
    return placed


def scale_map(anomaly_map: NDArray[np.float32], scale: tuple[float, float], side: int) -> NDArray[np.float32]:
    """Return an anomaly map as `(side, side)` float32 in [0, 1]; `scale` are the values that become 0 and 1."""
    low, high = scale
    resized = Image.fromarray(anomaly_map).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(np.clip((np.asarray(resized) - low) / (high - low), 0, 1))
