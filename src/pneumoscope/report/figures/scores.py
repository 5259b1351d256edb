"""Confusion matrix; ROC and precision-recall curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.io.results import Evaluation
from pneumoscope.report.figures import palette
from pneumoscope.report.wording import format_estimate, format_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE_STYLES = ("-", "--", "-.")


@palette.styled
def draw_confusion(evaluation: Evaluation, *, title: str) -> Figure:
    """Draw the confusion matrix: true classes in rows, predicted classes in columns, colored by share of the row."""
    classes = evaluation.classes
    counts = evaluation.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = palette.new_figure(title, describe_confusion(evaluation), height=1.6 + 0.75 * len(classes))
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.grid(False)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), count in np.ndenumerate(counts):
        color = palette.ON_DARK if shares[row, column] < 0.55 else palette.ON_LIGHT
        text = f"{count}\n{100 * shares[row, column]:.1f}%"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=11)
    bar = figure.colorbar(shown, ax=axes, ticks=[0, 0.5, 1], format="{x:.0%}", pad=0.02)
    bar.set_label("share of the row", color=palette.INK)
    bar.outline.set_visible(False)
    return figure


def describe_confusion(evaluation: Evaluation) -> str:
    """Return the alternative text of `draw_confusion`."""
    sentences = [f"Confusion matrix of {len(evaluation.labels)} images."]
    for name, row in zip(evaluation.classes, evaluation.confusion, strict=True):
        predicted = ", ".join(
            f"{format_share(int(count), int(row.sum()))} {decision}"
            for decision, count in zip(evaluation.classes, row, strict=True)
        )
        sentences.append(f"Of {row.sum()} {name} images, the model predicts {predicted}.")
    return " ".join(sentences)


@palette.styled
def draw_roc_and_precision(evaluation: Evaluation, *, title: str) -> Figure:
    """Draw one-versus-rest ROC and precision-recall curves; with two classes, only those of the second class."""
    figure = palette.new_figure(title, describe_roc_and_precision(evaluation), height=3.5)
    roc, precision = figure.subplots(1, 2)
    for number, name in _list_curves(evaluation):
        style = LINE_STYLES[number % len(LINE_STYLES)]
        _draw_class(roc, precision, evaluation, number, color=palette.CLASS_COLORS.get(name, palette.INK), style=style)
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
    numbers = range(len(evaluation.classes)) if len(evaluation.classes) > 2 else [1]
    return [
        (number, evaluation.classes[number])
        for number in numbers
        if 0 < np.count_nonzero(evaluation.labels == number) < len(evaluation.labels)
    ]


def _draw_class(roc: Axes, precision: Axes, evaluation: Evaluation, number: int, *, color: str, style: str) -> None:
    from sklearn.metrics import precision_recall_curve, roc_curve

    positive = evaluation.labels == number
    probability = evaluation.probabilities[:, number]
    false_positives, sensitivity, _ = roc_curve(positive, probability)
    roc.plot(false_positives, sensitivity, color=color, linestyle=style, label=evaluation.classes[number])
    precisions, recalls, _ = precision_recall_curve(positive, probability)
    precision.plot(recalls, precisions, color=color, linestyle=style, drawstyle="steps-post")
    precision.axhline(positive.mean(), color=color, linewidth=1, linestyle=":", alpha=0.8)
    predicted = evaluation.decisions == number
    recall = (predicted & positive).sum() / positive.sum()
    operating = {"color": color, "markeredgecolor": palette.INK, "markersize": 6}
    roc.plot((predicted & ~positive).sum() / (~positive).sum(), recall, "o", **operating)
    if predicted.any():
        precision.plot(recall, (predicted & positive).sum() / predicted.sum(), "o", **operating)


def describe_roc_and_precision(evaluation: Evaluation) -> str:
    """Return the alternative text of `draw_roc_and_precision`."""
    names = ", ".join(name for _, name in _list_curves(evaluation)) or "no class"
    metrics = [
        f"{title} {format_estimate(key, evaluation.metrics[key])}"
        for key, title in (("auroc", "area under the ROC curve"), ("auprc", "area under the precision-recall curve"))
        if key in evaluation.metrics
    ]
    numbers = f": {', '.join(metrics)}" if metrics else ""
    return f"ROC and precision-recall curves for {names} on {len(evaluation.labels)} images{numbers}."
