"""Learning curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import LearningCurve
from pneumoscope.report.figures.palette import BLUE, INK, ORANGE, new_figure, put_legend_below, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Above this ratio of largest to smallest loss, a linear axis hides the last epochs.
LOG_SCALE_RATIO = 30.0


@styled
def draw_learning_curve(curve: LearningCurve, *, title: str) -> Figure:
    """Draw loss and, if measured, accuracy by epoch, and mark the selected epoch."""
    loss = curve.val_loss[curve.chosen_epoch - 1]
    alt = (
        f"Learning curve of {len(curve.loss)} epochs. Selected: epoch {curve.chosen_epoch}, validation loss {loss:.4g}."
    )
    figure = new_figure(title, alt)
    panels = [("Loss", curve.loss, curve.val_loss)]
    if np.isfinite(curve.accuracy).any():
        panels.append(("Accuracy", curve.accuracy, curve.val_accuracy))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for panel, (name, train, validation) in zip(axes, panels, strict=True):
        _draw_panel(panel, train, validation, curve.chosen_epoch)
        panel.set_title(name)
    losses = np.concatenate([curve.loss, curve.val_loss])
    losses = losses[np.isfinite(losses)]
    if len(losses) and 0 < losses.min() < losses.max() / LOG_SCALE_RATIO:
        axes[0].set_yscale("log")
    put_legend_below(figure, axes[0])
    return figure


def _draw_panel(axes: Axes, train: np.ndarray, validation: np.ndarray, chosen_epoch: int) -> None:
    epochs = np.arange(1, len(train) + 1)
    marker = "o" if len(epochs) < 12 else None
    axes.plot(epochs, train, color=BLUE, marker=marker, markersize=3.5, label="train")
    axes.plot(epochs, validation, color=ORANGE, linestyle="--", marker=marker, markersize=3.5, label="validation")
    axes.axvline(chosen_epoch, color=INK, linewidth=0.9, linestyle=":")
    axes.plot(
        chosen_epoch, validation[chosen_epoch - 1], "D", color=ORANGE, markeredgecolor=INK, label="selected epoch"
    )
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
