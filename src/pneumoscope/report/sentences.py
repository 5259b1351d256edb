"""Sentences of the report of a study; the metrics select them."""

from __future__ import annotations

import math
from typing import Any

from pneumoscope.io.results import Audit, Estimate, Leakage
from pneumoscope.io.study_folder import order_configurations
from pneumoscope.labels import LabelSet
from pneumoscope.phantoms.phantom import PHANTOM_NOTE
from pneumoscope.report.comparison import (
    HEADLINE_METRICS,
    is_comparable,
    list_titles,
    read_estimate,
    read_metrics,
    reference_estimate,
)
from pneumoscope.report.published import TEST_IMAGES
from pneumoscope.report.wording import (
    format_estimate,
    format_interval,
    format_value,
    format_with_ci,
    metric_title,
)

# Smaller differences in the share of the negative class are not reported.
LABEL_SHIFT = 0.02
KERMANY_LIMITATIONS = (
    "The collection (Kermany, Zhang and Goldbaum 2018) comes from one hospital. It contains antero-posterior "
    "radiographs of children of 1 to 5 years. Performance on adults, in other hospitals and on other devices is "
    "unknown.",
    "Class and patient are taken from folder and file names. The labels were not reviewed.",
)
OWN_DATA = ("The models know one collection. Performance in other hospitals and on other devices is unknown.",)


def leading_configuration(configurations: dict[str, Any]) -> str:
    """Return the configuration of the overview."""
    preferred = [name for name in ("default", "improved") if name in configurations]
    return (preferred or order_configurations(configurations))[0]


def write_headlines(results: dict[str, Any]) -> list[str]:
    """Return the main test metric of each classifier, compared with the reference study and the majority class."""
    images = "phantoms" if results["data"]["phantoms"] else "radiographs"
    headlines, titles = [], list_titles(results)
    for task, metric in HEADLINE_METRICS.items():
        metrics = read_metrics(results, task)
        configuration = leading_configuration(metrics) if metrics else ""
        if not metrics or metric not in metrics[configuration]:
            continue
        ours = metrics[configuration][metric]
        name = "AUROC, mean of the findings," if task == "multilabel" else "accuracy"
        text = (
            f"{titles[task]}: {name} {format_with_ci(metric, ours)}, test, n = {ours.n} {images}, configuration "
            f"{configuration}."
        )
        reference = reference_estimate(task, metric) if is_comparable(results) else None
        if reference:
            text += f" Reference study: {format_with_ci(metric, reference)}; {_compare(ours, reference)}."
        headlines.append(text + (_write_majority(results["tasks"][task]) if metric == "accuracy" else ""))
    return headlines


def _compare(ours: Estimate, reference: Estimate) -> str:
    change = "gain" if ours.low > reference.high else "loss" if ours.high < reference.low else ""
    if change:
        return f"the intervals do not overlap, so chance does not explain the {change}"
    return "the intervals overlap, so the difference may be chance"


def _write_majority(entries: dict[str, Any]) -> str:
    entry = next((entry for entry in entries.values() if "test" in entry["confusion"]), None)
    if entry is None:
        return ""
    counts = [sum(row) for row in entry["confusion"]["test"]]
    share = 100 * max(counts) / max(sum(counts), 1)
    name = entry["label_set"]["classes"][counts.index(max(counts))]
    return f" A classifier that always predicts {name} has an accuracy of {share:.1f}%."


def write_agreement(entry: dict[str, Any], *, suffix: str = "") -> str:
    """Return the agreement of k-NN and the classifier, or an empty string if it was not measured."""
    if f"agreement{suffix}" not in entry["metrics"]:
        return ""
    agreement = format_estimate("agreement", read_estimate(entry["metrics"][f"agreement{suffix}"]))
    model, knn, neither = (entry[f"{name}{suffix}"] for name in ("model_right", "knn_right", "neither_right"))
    return (
        f"k-NN (k = {entry[f'k{suffix}']}) and the classifier agree on {agreement} of the test images. Other images: "
        f"{model} correct by the classifier, {knn} by k-NN, {neither} by neither."
    )


def write_centrality(metrics: dict[str, Estimate], label_set: LabelSet, *, compared: bool) -> str:
    """Return whether heatmaps are more central in the negative class, as the reference study claims for its data."""
    difference = metrics.get("centrality_difference")
    if difference is None or not math.isfinite(difference.value):
        return ""
    negative, others = label_set.negative, label_set.positive or "findings"
    if difference.low > 0:
        verdict, claim = f"Heatmaps are more central for {negative}", ", as the reference study reports"
    elif difference.high < 0:
        verdict, claim = f"Heatmaps are more central for {others}", ", contrary to the reference study"
    else:
        verdict, claim = "The interval includes zero", ", so the claim of the reference study is not confirmed"
    value = format_estimate("centrality_difference", difference)
    return f"Centrality of {negative} minus centrality of {others}: {value}. {verdict}{claim if compared else ''}."


def write_direction(metrics: dict[str, Estimate]) -> str:
    """Return a warning if the anomaly score does not separate abnormal images from normals, else an empty string."""
    auroc = metrics.get("auroc")
    if auroc is None or not math.isfinite(auroc.high) or auroc.low > 0.5:
        return ""
    value = format_estimate("auroc", auroc)
    if auroc.high >= 0.5:
        return f"AUROC {value} is no better than chance. This anomaly score does not detect abnormal images."
    return (
        f"AUROC {value} is below chance: normals have higher anomaly scores than other images. Reconstruction errors "
        "are largest at sharp edges, and clear lungs have sharper edges than hazy lungs. The inverted score would "
        "measure sharpness, not disease."
    )


def write_peaks(metrics: dict[str, Estimate]) -> str:
    """Return the pointing-game accuracy, or an empty string if no lesions are annotated."""
    peak, area = metrics.get("peak_in_lesion"), metrics.get("lesion_area")
    if peak is None or area is None or not peak.n:
        return ""
    return (
        f"Pointing game: the heatmap peaks inside the lesion in {format_estimate('peak_in_lesion', peak)} of {peak.n} "
        f"correctly classified images with a lesion (chance {format_value('lesion_area', area.value)})."
    )


def write_leakage(leakage: Leakage) -> str:
    """Return how images of the same patient in training and validation change the metrics."""
    pairs = [
        f"{metric_title(name).lower()} {format_estimate(name, leakage.random_split[name])} with images of the same "
        f"patient and {format_estimate(name, fair)} without them"
        for name in leakage.grouped_split
        if (fair := leakage.random_split.get(f"{name}_without_own_patient")) is not None
    ]
    text = (
        f"A random split by image puts {leakage.shared_patients:,} patients in both training and validation: "
        f"{100 * leakage.leaked_share:.1f}% of the validation images show a patient of the training images."
    )
    return f"{text} A nearest-neighbor classifier on raw pixels has {'; '.join(pairs)}." if pairs else text


def write_limitations(results: dict[str, Any], audit: Audit | None) -> list[str]:
    """Return the limitations of the study."""
    titles, comparable = list_titles(results), is_comparable(results)
    measured = [pair for pair in HEADLINE_METRICS.items() if results["tasks"].get(pair[0])]
    task, metric = measured[0] if measured else ("", "")
    metrics = read_metrics(results, task)
    main = metrics[leading_configuration(metrics)].get(metric) if metrics else None
    limitations = [PHANTOM_NOTE] if results["data"]["phantoms"] else list(OWN_DATA)
    if comparable:
        limitations = list(KERMANY_LIMITATIONS)
        if main is not None and main.n != TEST_IMAGES:
            limitations.append(
                f"The official test split has {TEST_IMAGES} images. This study used {main.n} of them. The "
                f"reference study and the publications used all {TEST_IMAGES}."
            )
    if main is not None and math.isfinite(main.high - main.low):
        number, interval = titles[task].split()[0], format_interval(metric, main)
        limitations.append(
            f"{metric_title(metric)} of {number}: the 95% interval on {main.n} test images is {interval}. Differences "
            "smaller than its width may be chance."
        )
    return [
        *limitations,
        *([] if audit is None else _write_limitations_of_audit(audit)),
        *(["The models of the reference study use images of 128 x 128 pixels. Fine structures are lost."] * comparable),
        "Each model was trained once, with one seed. Intervals resample test patients and do not include the variance "
        "between training runs.",
        "Heatmaps show which pixels influence a prediction. They are not segmentations of lesions.",
    ]


def _write_limitations_of_audit(audit: Audit) -> list[str]:
    limitations = []
    train, test = (audit.negative_share.get(split) for split in ("train", "test"))
    if train is not None and test is not None and abs(train - test) >= LABEL_SHIFT:
        limitations.append(
            f"Label shift: the negative class is {100 * train:.1f}% of the training images and {100 * test:.1f}% of "
            "the test images."
        )
    if audit.shared_numbers:
        limitations.append(
            f"{len(audit.shared_numbers)} patient numbers occur in training and test. They are treated as different "
            "patients, because the collection numbers test patients separately. If they are the same patients, test "
            "metrics are biased upwards."
        )
    return limitations
