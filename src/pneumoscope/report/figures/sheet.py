"""A grid of small images. Files in vector formats contain it as one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.report.figures.palette import FULL_WIDTH, INK, NOTE_HEIGHT, SOFT, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXELS_PER_INCH = 110
LETTERS_PER_INCH = 14
GAP, TITLE_HEIGHT = 0.06, 0.22
LEFT, TOP, SCALE_WIDTH = 0.35, 0.32, 0.95
HEAT_OPACITY, HEAT_COLORS = 0.65, "inferno"


class Sheet:
    """A figure with rows of images of equal size; rows can have a title above each image.

    Attributes:
        figure: the figure.
        axes: axes of the whole sheet, in inches from the top left corner.
        side: side of an image in inches.
        num_letters: number of letters of a title that fits above an image.
    """

    def __init__(self, title: str, alt: str, *, titled: Sequence[bool], columns: int, scaled: bool = False) -> None:
        """Create an empty sheet.

        Args:
            title, alt: of the figure.
            titled: for each row, whether its images have titles.
            columns: number of images in a row.
            scaled: whether to leave space for a color scale on the right.
        """
        width = FULL_WIDTH - LEFT - (SCALE_WIDTH if scaled else GAP)
        self.side = (width + GAP) / columns - GAP
        self.num_letters = int(self.side * LETTERS_PER_INCH)
        gaps = np.array([TITLE_HEIGHT if has_titles else GAP for has_titles in titled])
        self._tops = np.cumsum(gaps) + self.side * np.arange(len(gaps))
        height = float(self._tops[-1] + self.side)
        self.figure: Figure = new_figure(title, alt, width=FULL_WIDTH, height=TOP + height + NOTE_HEIGHT)
        self.figure.set_layout_engine("none")
        self.figure.set_dpi(PIXELS_PER_INCH)
        self.axes: Axes = self._add_axes(LEFT, TOP, width, height)
        self.axes.set_axis_off()
        self.axes.set(xlim=(0, width), ylim=(height, 0))

    def _add_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        across, down = self.figure.get_size_inches()
        return self.figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def put(
        self, row: int, column: int, image: np.ndarray, *, title: str = "", frame: str = "", bold: bool = False
    ) -> None:
        """Put one image on the sheet.

        Args:
            row, column: position.
            image: `(H, W)` or `(H, W, 3)` floats in [0, 1].
            title: above the image.
            frame: color of a frame around the image.
            bold: whether the title is bold.
        """
        from matplotlib.patches import Rectangle

        top, left = float(self._tops[row]), column * (self.side + GAP)
        reduced = max(image.shape[:2]) > self.side * PIXELS_PER_INCH
        self.axes.imshow(
            np.clip(image, 0, 1),
            cmap="gray",
            vmin=0,
            vmax=1,
            extent=(left, left + self.side, top + self.side, top),
            aspect="auto",
            interpolation="antialiased" if reduced else "catrom",
        )
        if title:
            weight = "bold" if bold else "normal"
            self.axes.text(left, top - 0.035, title, fontsize=8.5, fontweight=weight, va="bottom", clip_on=False)
        if frame:
            self.axes.add_patch(
                Rectangle((left, top), self.side, self.side, fill=False, edgecolor=frame, linewidth=2.5)
            )

    def name_rows(self, names: Sequence[str]) -> None:
        """Write the name of each row on its left."""
        for top, name in zip(self._tops, names, strict=True):
            self.axes.text(-0.08, top + self.side / 2, name, rotation=90, ha="right", va="center", fontsize=8.5)

    def add_scale(self, cmap: str, label: str, *, low: float = 0.0, high: float = 1.0) -> None:
        """Draw the color scale on the right."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        _, height = self.figure.get_size_inches() - (0, TOP + NOTE_HEIGHT)
        scale = self._add_axes(FULL_WIDTH - SCALE_WIDTH + 0.12, TOP + TITLE_HEIGHT, 0.13, height - TITLE_HEIGHT - 0.15)
        bar = self.figure.colorbar(ScalarMappable(Normalize(low, high), cmap), cax=scale)
        bar.set_label(label, color=INK, fontsize=8.5)
        bar.ax.tick_params(labelsize=8.5)
        bar.outline.set_edgecolor(SOFT)


def color_values(values: np.ndarray, cmap: str, *, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Return values between `low` and `high` as colors of a color map: `(H, W, 3)` floats in [0, 1]."""
    from matplotlib import colormaps

    scaled = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    return np.asarray(colormaps[cmap](scaled))[..., :3]


def overlay_heatmap(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return an image blended with its heatmap, `(H, W, 3)` floats in [0, 1]; opacity grows with the heat."""
    opacity = HEAT_OPACITY * np.sqrt(heatmap)[..., None]  # the square root keeps faint heat visible
    return np.asarray((1 - opacity) * image[..., None] + opacity * color_values(heatmap, HEAT_COLORS))
