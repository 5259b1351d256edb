"""Sentences of a study's report, chosen by the metrics."""

from __future__ import annotations

import math
from typing import Any

from pneumoscope.io.results import Audit, Estimate, Leakage
from pneumoscope.io.study_folder import order_configurations
from pneumoscope.report.comparison import HEADLINE_METRICS, read_estimate, read_metrics, reference_estimate
from pneumoscope.report.published import APPROXIMATE, TEST_IMAGES
from pneumoscope.report.tables import Cell, make_cell
from pneumoscope.report.wording import (
    TASK_TITLES,
    WITHOUT_OWN_PATIENT,
    format_estimate,
    format_value,
    metric_title,
)

# Smaller differences in the share of normals are not worth a warning.
LABEL_SHIFT = 0.02


def leading_configuration(configurations: dict[str, Any]) -> str:
    """Return the configuration that the overview reports."""
    preferred = [name for name in ("default", "improved") if name in configurations]
    return (preferred or order_configurations(configurations))[0]


def write_headlines(results: dict[str, Any]) -> list[str]:
    """Return for each classifier its test accuracy, compared with the reference study and with the majority class."""
    phantoms = results["data"]["phantoms"]
    headlines = []
    for task in ("binary", "three_class"):
        metrics = read_metrics(results, task)
        configuration = leading_configuration(metrics) if metrics else ""
        if not metrics or "accuracy" not in metrics[configuration]:
            continue
        ours = metrics[configuration]["accuracy"]
        text = (
            f"{TASK_TITLES[task]}: accuracy {format_estimate('accuracy', ours)} on {ours.n} "
            f"{'drawn phantoms' if phantoms else 'test radiographs'}, configuration {configuration}."
        )
        reference = None if phantoms else reference_estimate(task, "accuracy")
        if reference:
            text += f" Reference study: {format_estimate('accuracy', reference)}; {_compare(ours, reference)}."
        if task == "binary":
            text += _write_majority(results)
        headlines.append(text)
    return headlines


def _compare(ours: Estimate, reference: Estimate) -> str:
    if ours.low > reference.high:
        return "the intervals do not overlap, so chance does not explain the gain"
    if ours.high < reference.low:
        return "the intervals do not overlap, so chance does not explain the loss"
    return "the intervals overlap, so the difference may be chance"


def _write_majority(results: dict[str, Any]) -> str:
    for entry in results["tasks"]["binary"].values():
        confusion = entry.get("confusion", {}).get("test")
        if confusion:
            normal, pneumonia = (sum(row) for row in confusion)
            share = 100 * pneumonia / max(normal + pneumonia, 1)
            return f" Predicting pneumonia for every image reaches {share:.1f}%."
    return ""


def list_tiles(results: dict[str, Any]) -> list[dict[str, str | Cell]]:
    """Return the main metrics: `section`, `title` and `cell`, with the reference study's value as its note."""
    tiles: list[dict[str, str | Cell]] = []
    for task, metric in HEADLINE_METRICS:
        metrics = read_metrics(results, task)
        if not metrics or metric not in metrics[leading_configuration(metrics)]:
            continue
        note = f"{metric_title(metric)}, test"
        reference = None if results["data"]["phantoms"] else reference_estimate(task, metric)
        if reference:
            about = "about " if (task, metric) in APPROXIMATE else ""
            note += f"; reference study: {about}{format_value(metric, reference.value)}"
        cell = make_cell(metric, metrics[leading_configuration(metrics)][metric], note=note)
        tiles.append({"section": task, "title": TASK_TITLES[task], "cell": cell})
    return tiles


def write_agreement(entry: dict[str, Any], *, suffix: str = "") -> str:
    """Return how often k-NN and the classifier agree; empty where that was not measured."""
    if f"agreement{suffix}" not in entry["metrics"]:
        return ""
    agreement = format_estimate("agreement", read_estimate(entry["metrics"][f"agreement{suffix}"]))
    text = f"k-NN (k = {entry.get(f'k{suffix}')}) and the classifier agree on {agreement} of the test images."
    counts = [entry.get(f"{name}{suffix}") for name in ("net_right", "knn_right", "neither_right")]
    if None in counts:
        return text
    return (
        f"{text} Where they differ, the classifier is right {counts[0]}, k-NN {counts[1]}, neither {counts[2]} times."
    )


def write_centrality(metrics: dict[str, Estimate], *, phantoms: bool) -> str:
    """Return whether heatmaps of normals are more central than those of pneumonias, as the reference study claims."""
    difference = metrics.get("centrality_difference")
    if difference is None or not math.isfinite(difference.value):
        return ""
    if difference.low > 0:
        verdict, claim = "Heatmaps of normals are more central", ", as the reference study reports"
    elif difference.high < 0:
        verdict, claim = "Heatmaps of pneumonias are more central", ", contrary to the reference study"
    else:
        verdict, claim = "The interval includes zero", ": the claim of the reference study is not confirmed"
    value = format_estimate("centrality_difference", difference)
    return f"Difference in centrality between normals and pneumonias: {value}. {verdict}{'' if phantoms else claim}."


def write_direction(metrics: dict[str, Estimate]) -> str:
    """Return a warning where the anomaly score does not separate pneumonias from normals."""
    auroc = metrics.get("auroc")
    if auroc is None or not math.isfinite(auroc.high) or auroc.low > 0.5:
        return ""
    value = format_estimate("auroc", auroc)
    if auroc.high >= 0.5:
        return f"AUROC {value} is no better than chance: this score does not detect pneumonia."
    return (
        f"AUROC {value} is below chance: normals score higher than pneumonias. Reconstruction errors are largest where "
        "an image is sharp, and clear lungs are sharper than hazy ones. Inverting this score would not make it a "
        "measure of pneumonia."
    )


def write_peaks(metrics: dict[str, Estimate]) -> str:
    """Return how often the heatmap peaks inside the true lesion, where lesions are known."""
    peak, area = metrics.get("peak_in_lesion"), metrics.get("lesion_area")
    if peak is None or area is None or not peak.n:
        return ""
    return (
        f"The heatmap peaks inside the lesion in {format_estimate('peak_in_lesion', peak)} of {peak.n} detected "
        f"pneumonias (by chance {format_value('lesion_area', area.value)})."
    )


def write_leakage(leakage: Leakage) -> str:
    """Return what a nearest-neighbor classifier gains from images of the same patient under a random image split."""
    pairs = [
        f"{metric_title(name).lower()} {format_estimate(name, leakage.random_split[name])}, and "
        f"{format_estimate(name, fair)} without images of the same patient"
        for name in leakage.grouped_split
        if (fair := leakage.random_split.get(f"{name}{WITHOUT_OWN_PATIENT}")) is not None
    ]
    text = (
        f"A random split by image puts {leakage.shared_patients:,} patients on both sides: "
        f"{100 * leakage.leaked_share:.1f}% of its validation images show a patient of the training images."
    )
    return f"{text} Nearest-neighbor classification of raw pixels reaches {'; '.join(pairs)}." if pairs else text


def write_limitations(results: dict[str, Any], audit: Audit | None) -> list[str]:
    """Return the limitations of the study."""
    metrics = read_metrics(results, "binary")
    accuracy = metrics[leading_configuration(metrics)].get("accuracy") if metrics else None
    limitations = ["The images are drawn phantoms. Metrics on them say nothing about radiographs or patients."]
    if not results["data"]["phantoms"]:
        limitations = [
            "The collection (Kermany, Zhang and Goldbaum 2018) comes from one hospital and shows children of 1 to 5 "
            "years, antero-posterior. Performance on adults, elsewhere and on other devices is unknown.",
            "Class, subtype and patient are taken from folder and file names; nobody read the images again.",
        ]
        if accuracy is not None and accuracy.n != TEST_IMAGES:
            limitations.append(
                f"The official test split holds {TEST_IMAGES} images; this run had {accuracy.n}. The reference study "
                f"and the publications used all {TEST_IMAGES}."
            )
    if accuracy is not None and math.isfinite(accuracy.high - accuracy.low):
        limitations.append(
            f"The 95% interval of the accuracy of 1.A on {accuracy.n} test images spans "
            f"{100 * (accuracy.high - accuracy.low):.1f} points; smaller differences may be chance."
        )
    return [
        *limitations,
        *([] if audit is None else _write_limitations_of_audit(audit)),
        "Models of the reference study read images of 128 x 128 pixels; fine signs are lost.",
        "Each model was trained once, with one seed. Intervals resample test patients; they do not include the spread "
        "between trainings.",
        "Heatmaps show which pixels a prediction depends on. They do not delineate lesions.",
    ]


def _write_limitations_of_audit(audit: Audit) -> list[str]:
    limitations = []
    train, test = (audit.normal_share.get(split) for split in ("train", "test"))
    if train is not None and test is not None and abs(train - test) >= LABEL_SHIFT:
        limitations.append(
            f"Label shift: normals are {100 * train:.1f}% of the training images and {100 * test:.1f}% of the test "
            "images."
        )
    if audit.shared_numbers:
        limitations.append(
            f"{len(audit.shared_numbers)} patient numbers occur in train and in test. The naming scheme numbers test "
            "patients anew; if it does not, test metrics are too good."
        )
    return limitations
