"""Confusion matrix; ROC and precision-recall curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import Evaluation
from pneumoscope.report.figures import palette
from pneumoscope.report.wording import format_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_STYLES = ("-", "--", "-.")
LONGEST_NAME = 28
MOST_COUNTED, MOST_LETTERS = 6, 50  # classes, and letters of their names, of a confusion matrix with large cells


@palette.styled
def draw_confusion(evaluation: Evaluation, *, title: str) -> Figure:
    """Draw the confusion matrix: true classes in rows, predicted classes in columns, colored by share of the row.

    In a multi-label set, a row is a finding, and the columns are the decisions on images with and without it.
    """
    rows, columns, counts, shares = _arrange_confusion(evaluation)
    multi_label, few = evaluation.label_set.multi_label, max(len(rows), len(columns)) <= MOST_COUNTED
    side = 0.75 if few else 0.42
    width = palette.HALF_WIDTH if multi_label else max(palette.HALF_WIDTH, 2.6 + side * len(columns))
    height = 1.8 + side * max(len(rows), 2)
    figure = palette.new_figure(title, describe_confusion(evaluation), width=width, height=height)
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.grid(False)
    level = multi_label or (few and sum(map(len, columns)) <= MOST_LETTERS)
    turned = {} if level else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(columns)), [name.replace(", ", ",\n") for name in columns], **turned)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("" if multi_label else "predicted class")
    axes.set_ylabel("finding" if multi_label else "true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), count in np.ndenumerate(counts):
        color = palette.ON_DARK if shares[row, column] < 0.55 else palette.ON_LIGHT
        text, share = f"{count or ''}", f"{100 * shares[row, column]:.1f}%"
        if few or multi_label:
            text = f"{count}\n{share}" if few else f"{count}, {share}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=11 if few else 8)
    bar = figure.colorbar(shown, ax=axes, ticks=[0, 0.5, 1], format="{x:.0%}", pad=0.02)
    bar.set_label("share of the images" if multi_label else "share of the row", color=palette.INK)
    bar.outline.set_visible(False)
    return figure


def _arrange_confusion(evaluation: Evaluation) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Return the names of rows and columns, and counts and shares, `(rows, columns)` each."""
    names, counts = [palette.shorten(name, LONGEST_NAME) for name in evaluation.classes], evaluation.confusion
    shares = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    if not evaluation.label_set.multi_label:
        return names, names, counts, shares
    order = [3, 2, 1, 0]
    columns = ["present, predicted", "present, missed", "absent, predicted", "absent, not predicted"]
    return names, columns, counts.reshape(-1, 4)[:, order], shares.reshape(-1, 4)[:, order]


def describe_confusion(evaluation: Evaluation) -> str:
    """Return the alternative text of `draw_confusion`."""
    rows, columns, counts, _ = _arrange_confusion(evaluation)
    sentences = [f"Confusion matrix of {len(evaluation.labels)} images."]
    for name, row in zip(rows, counts, strict=True):
        total = int(row.sum())
        listed = ", ".join(
            f"{format_share(int(count), total)} {decision}" for decision, count in zip(columns, row, strict=True)
        )
        known = "with a known label of" if evaluation.label_set.multi_label else "of"
        sentences.append(f"{total} images {known} {name}: {listed}.")
    return " ".join(sentences)


@palette.styled
def draw_roc_and_precision(evaluation: Evaluation, *, title: str) -> Figure:
    """Draw one-versus-rest ROC and precision-recall curves; with two classes, only those of the positive class."""
    alt = (
        f"ROC and precision-recall curves on {len(evaluation.labels)} images. The tables contain the areas under them."
    )
    figure = palette.new_figure(title, alt, height=3.5)
    roc, precision = figure.subplots(1, 2)
    styles = palette.class_style(evaluation.label_set)
    for number, name in _list_curves(evaluation):
        style = LINE_STYLES[number % len(LINE_STYLES)]
        _draw_class(roc, precision, evaluation, number, color=styles[name][0], style=style)
    set_up_roc(roc)
    roc.set_title("ROC")
    precision.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    precision.set_title("Precision-recall")
    palette.put_legend_below(figure, roc)
    return figure


def set_up_roc(axes: Axes) -> None:
    """Draw the chance line and the axis labels of a ROC curve."""
    axes.plot([0, 1], [0, 1], color=palette.SOFT, linewidth=1, linestyle=":", label="chance")
    axes.set(
        xlabel="false positive rate (1 - specificity)", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
    )


def _list_curves(evaluation: Evaluation) -> list[tuple[int, str]]:
    """Return number and name of the classes with both positive and negative images."""
    classes = evaluation.classes
    numbers = range(len(classes))
    if evaluation.label_set.task == "binary":
        numbers = range(classes.index(evaluation.label_set.positives[-1]), len(classes))[:1]
    events = {number: _find_events(evaluation, number)[1] for number in numbers}
    return [(number, classes[number]) for number, event in events.items() if 0 < event.sum() < len(event)]


def _find_events(evaluation: Evaluation, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which images have a known label of a class, `(n,)` bool, and whether each of these has the class."""
    if evaluation.label_set.multi_label:
        known = evaluation.labels[:, number] >= 0
        return known, evaluation.labels[known, number] == 1
    return np.ones(len(evaluation.labels), dtype=bool), evaluation.labels == number


def _draw_class(roc: Axes, precision: Axes, evaluation: Evaluation, number: int, *, color: str, style: str) -> None:
    from sklearn.metrics import precision_recall_curve, roc_curve

    known, positive = _find_events(evaluation, number)
    probability = evaluation.probabilities[known, number]
    false_positives, sensitivity, _ = roc_curve(positive, probability)
    roc.plot(false_positives, sensitivity, color=color, linestyle=style, label=evaluation.classes[number])
    precisions, recalls, _ = precision_recall_curve(positive, probability)
    precision.plot(recalls, precisions, color=color, linestyle=style, drawstyle="steps-post")
    precision.axhline(positive.mean(), color=color, linewidth=1, linestyle=":", alpha=0.8)
    multi_label = evaluation.label_set.multi_label
    predicted = evaluation.decisions[:, number] == 1 if multi_label else evaluation.decisions == number
    predicted = predicted[known]
    recall = (predicted & positive).sum() / positive.sum()
    operating = {"color": color, "markeredgecolor": palette.INK, "markersize": 6}
    roc.plot((predicted & ~positive).sum() / (~positive).sum(), recall, "o", **operating)
    if predicted.any():
        precision.plot(recall, (predicted & positive).sum() / predicted.sum(), "o", **operating)
