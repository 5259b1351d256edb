"""What the figures say, in sentences: headline, verdicts, limits."""

from __future__ import annotations

import math
from typing import Any

from pneumoscope.io.results import Audit, Estimate, Leakage
from pneumoscope.io.study_folder import order_configurations
from pneumoscope.report.comparison import HEADLINE_METRICS, paper_estimate, read_estimate, read_metrics
from pneumoscope.report.published import APPROXIMATE, TEST_IMAGES
from pneumoscope.report.wording import (
    TASK_TITLES,
    WITHOUT_OWN_PATIENT,
    metric_title,
    word_estimate,
    word_interval,
    word_value,
)

# Shares of normals that differ by less are not worth a warning.
PRIOR_SHIFT = 0.02

_RECIPES = {"reference": "trained with the paper's recipe", "improved": "trained with our best recipe"}
_CLASSES = {"binary": "normal and pneumonia", "three_class": "normal, bacterial and viral"}


def leading_configuration(configurations: dict[str, Any]) -> str:
    """Return the configuration that headlines speak of: ours where it was run."""
    return next(
        (name for name in ("default", "improved") if name in configurations), order_configurations(configurations)[0]
    )


def write_headlines(results: dict[str, Any]) -> list[tuple[str, str]]:
    """Return for each of the tasks 1.A and 1.B what came out, and how far to trust it."""
    phantoms = results["data"]["phantoms"]
    headlines: list[tuple[str, str]] = []
    for task, classes in _CLASSES.items():
        metrics = read_metrics(results, task)
        configuration = leading_configuration(metrics) if metrics else ""
        if not metrics or "accuracy" not in metrics[configuration]:
            continue
        ours = metrics[configuration]["accuracy"]
        paper = None if phantoms else paper_estimate(task, "accuracy")
        reported = f"; the paper reports {word_value('accuracy', paper.value)}" if paper else ""
        headline = (
            f"{_name_net(configuration)} sorts {word_estimate('accuracy', ours)} "
            f"of {ours.n} {'drawn phantoms' if phantoms else 'test radiographs'} rightly into {classes}{reported}."
        )
        trust = [] if headlines else ["In brackets: the 95% interval."]
        if configuration != "reference" and "accuracy" in metrics.get("reference", {}):
            again = word_estimate("accuracy", metrics["reference"]["accuracy"])
            trust.append(f"With the paper's own recipe we reach {again}.")
        if paper:
            trust.append(_compare_with_paper(ours, paper))
        if task == "binary":
            trust.append(_write_chance(results))
        headlines.append((headline, " ".join(trust).rstrip()))
    return headlines


def _name_net(configuration: str) -> str:
    if configuration == "default":
        return "The default model"
    return f"The paper's net, {_RECIPES.get(configuration, f'configuration {configuration}')},"


def _compare_with_paper(ours: Estimate, paper: Estimate) -> str:
    interval = f"The paper's {paper.n} test images alone imply {word_interval('accuracy', paper)} for its figure"
    if ours.low > paper.high:
        return f"{interval}: the intervals do not overlap, so chance does not explain the gain."
    if ours.high < paper.low:
        return f"{interval}: the intervals do not overlap, so chance does not explain the loss."
    return f"{interval}: the intervals overlap, so the difference may be chance."


def _write_chance(results: dict[str, Any]) -> str:
    for entry in results["tasks"]["binary"].values():
        confusion = entry.get("confusion", {}).get("test")
        if confusion:
            normal, pneumonia = (sum(row) for row in confusion)
            share = 100 * pneumonia / max(normal + pneumonia, 1)
            return f"Calling every image a pneumonia would be right in {share:.1f}% of cases."
    return ""


def collect_tiles(results: dict[str, Any]) -> list[dict[str, str]]:
    """Return the key figures: `title`, `value`, `interval`, and `reference` where it has one to compare."""
    tiles = []
    for task, metric in HEADLINE_METRICS:
        metrics = read_metrics(results, task)
        if not metrics or metric not in metrics[leading_configuration(metrics)]:
            continue
        ours = metrics[leading_configuration(metrics)][metric]
        paper = None if results["data"]["phantoms"] else paper_estimate(task, metric)
        approximate = (task, metric) in APPROXIMATE
        tiles.append(
            {
                "task": task,
                "title": TASK_TITLES[task],
                "metric": metric_title(metric),
                "value": word_value(metric, ours.value),
                "interval": word_interval(metric, ours),
                "reference": f"{'about ' if approximate else ''}{word_value(metric, paper.value)}" if paper else "",
            }
        )
    return tiles


def write_agreement(entry: dict[str, Any], *, suffix: str = "") -> str:
    """Return what k-NN and the net say to each other; nothing where that was not measured."""
    if f"agreement{suffix}" not in entry["metrics"]:
        return ""
    agreement = read_estimate(entry["metrics"][f"agreement{suffix}"])
    counts = [entry.get(f"{name}{suffix}") for name in ("net_right", "knn_right", "neither_right")]
    decided_alike = word_estimate("agreement", agreement)
    text = f"k-NN (k = {entry.get(f'k{suffix}')}) and the net decide alike on {decided_alike} of the test images"
    if None in counts:
        return f"{text}."
    right = ", ".join(f"{name} {count}" for name, count in zip(("net", "k-NN", "neither"), counts, strict=True))
    return f"{text}. Where they differ, who is right: {right}."


def write_centrality(metrics: dict[str, Estimate], *, phantoms: bool) -> str:
    """Return whether normals are lit centrally and pneumonias at the edges, as the paper claims of radiographs."""
    difference = metrics.get("centrality_difference")
    if difference is None or not math.isfinite(difference.value):
        return ""
    figures = " against ".join(
        f"{word_estimate(name, metrics[name])} for {label}"
        for name, label in (("centrality_normal", "normals"), ("centrality_pneumonia", "pneumonias"))
        if name in metrics
    )
    if difference.low > 0:
        verdict, judged = "Normals are lit more centrally", ", as the paper saw"
    elif difference.high < 0:
        verdict, judged = "Pneumonias are lit more centrally", ", the reverse of what the paper saw"
    else:
        verdict, judged = "The interval holds zero", ", so what the paper saw is not borne out"
    verdict += "" if phantoms else judged
    return f"Centrality is {figures}: a difference of {word_estimate('centrality_difference', difference)}. {verdict}."


def write_direction(metrics: dict[str, Estimate]) -> str:
    """Return a warning where the anomaly score does not tell pneumonias, or points the wrong way."""
    auroc = metrics.get("auroc")
    if auroc is None or not math.isfinite(auroc.high):
        return ""
    if auroc.high < 0.5:
        return (
            f"The score points the wrong way: AUROC is {word_estimate('auroc', auroc)}, so that normals look odder "
            "than pneumonias. An autoencoder that copies well errs most where an image is sharpest, and clear lungs "
            "with their ribs and vessels are sharper than hazy ones: this score does not measure pneumonia, and "
            "turning it round would not make it do so."
        )
    if auroc.low <= 0.5:
        return f"AUROC is {word_estimate('auroc', auroc)}, no better than chance: this score does not tell pneumonia."
    return ""


def write_peaks(metrics: dict[str, Estimate]) -> str:
    """Return how often the heat peaks inside the true lesion, where that is known."""
    if "peak_in_lesion" not in metrics or "lesion_area" not in metrics:
        return ""
    peak, area = metrics["peak_in_lesion"], metrics["lesion_area"]
    if not peak.n:
        return ""
    return (
        f"The heat peaks inside the true lesion in {word_estimate('peak_in_lesion', peak)} of {peak.n} pneumonias that "
        f"the net found; a peak thrown at random would in {word_value('lesion_area', area.value)}."
    )


def write_leakage(leakage: Leakage) -> str:
    """Return how much a labeller gains from the patient's own images under the random split."""
    pairs = [
        f"{metric_title(name).lower()} {word_estimate(name, leakage.random_split[name])} on these images, and "
        f"{word_estimate(name, fair)} once it may not look at the same patient's"
        for name in leakage.grouped_split
        if (fair := leakage.random_split.get(f"{name}{WITHOUT_OWN_PATIENT}")) is not None
    ]
    shared = (
        f"A random split by image puts {leakage.shared_patients:,} patients on both sides: "
        f"{100 * leakage.leaked_share:.1f}% of its validation images show a patient who is also trained on."
    )
    if not pairs:
        return shared
    return (
        f"{shared} A labeller that learns nothing, and only copies the label of the most similar known image, has "
        f"{'; '.join(pairs)}. What lies between the two is memory, not skill; a net can memorize more than this probe."
    )


def write_limits(results: dict[str, Any], audit: Audit | None) -> list[str]:
    """Return what to bear in mind before believing any figure."""
    data = results["data"]
    limits = []
    if data["phantoms"]:
        limits.append(
            "The images are drawn phantoms. Figures reached on them show that the machinery works and say nothing "
            "about radiographs, about children or about the paper."
        )
    else:
        limits += _write_limits_of_radiographs(results)
    limits += _write_limits_of_test(results)
    if audit is not None:
        limits += _write_limits_of_audit(audit)
    limits += [
        "Images are read at 128 x 128 pixels, as in the paper; fine signs are lost.",
        "Each net was trained once with one seed. The intervals resample test patients and do not hold the spread "
        "between trainings.",
        "Heat-maps show where a net looks, not what it sees there, and outline no lesion.",
    ]
    return limits


def _write_limits_of_radiographs(results: dict[str, Any]) -> list[str]:
    limits = [
        "The collection this package is made for (Kermany, Zhang and Goldbaum 2018) comes from one hospital and from "
        "children aged 1 to 5, as antero-posterior films. Nothing here tells how the nets do on adults, elsewhere or "
        "on other devices.",
        "Class, sub-type and patient are taken from folder and file names; nobody read the images again.",
    ]
    accuracy = _leading_accuracy(results)
    if accuracy is not None and accuracy.n != TEST_IMAGES:
        limits.append(
            f"The official test split holds {TEST_IMAGES} images; this run had {accuracy.n}. The paper and the "
            f"publications used all {TEST_IMAGES}, so compare with care."
        )
    return limits


def _write_limits_of_test(results: dict[str, Any]) -> list[str]:
    accuracy = _leading_accuracy(results)
    if accuracy is None or not math.isfinite(accuracy.high - accuracy.low):
        return []
    span = 100 * (accuracy.high - accuracy.low)
    return [
        f"The 95% interval of the accuracy of 1.A on {accuracy.n} test images spans {span:.1f} points. "
        "A difference of under two points is noise."
    ]


def _leading_accuracy(results: dict[str, Any]) -> Estimate | None:
    metrics = read_metrics(results, "binary")
    return metrics[leading_configuration(metrics)].get("accuracy") if metrics else None


def _write_limits_of_audit(audit: Audit) -> list[str]:
    limits = []
    train, test = (audit.normal_share.get(split) for split in ("train", "test"))
    if train is not None and test is not None and abs(train - test) >= PRIOR_SHIFT:
        limits.append(
            f"Normals are {100 * train:.1f}% of the training images and {100 * test:.1f}% of the test images. A net "
            "that has learned the first share is biased on the second."
        )
    if audit.shared_numbers:
        limits.append(
            f"{len(audit.shared_numbers)} patient numbers stand in train and in test. By the naming scheme test counts "
            "its patients anew; if it did not, the test figures would be too good."
        )
    return limits
