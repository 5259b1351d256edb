"""Titles of metrics; values, intervals, differences and durations as text."""

import math
from collections.abc import Mapping, Sequence

from pneumoscope.io.results import Estimate
from pneumoscope.io.study_folder import CLASSIFICATIONS

_OTHER_TASKS = {"neighbors": "2 Embeddings and k-NN", "anomaly": "3 Anomaly detection", "explain": "4 Explanations"}
_MOST_NAMED = 4
_MOST_LETTERS = 50  # longer figure titles are cut off

_METRIC_TITLES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "classes_accuracy": "Accuracy, all classes",
    "agreement": "Agreement with the classifier",
    "centrality_negative": "Centrality, negative class",
    "centrality_positive": "Centrality, other classes",
    "centrality_difference": "Centrality, difference",
    "peak_in_lesion": "Peak inside the lesion",
    "lesion_area": "Lesion area, share of the image",
    "heat_in_lesion": "Heat inside the lesion",
    "heat_in_lungs": "Heat inside the lungs",
    "lungs_area": "Lung area, share of the image",
    "road": "ROAD",
    "repeatability": "Similarity after a shift",
    "other_seed": "Similarity to a model with another seed",
    "survives_last": "Similarity with the last layer randomized",
    "survives_all": "Similarity with all layers randomized",
    "macro_f1": "Macro F1",
    "subset_accuracy": "All findings correct",
    "specificity_at_sensitivity": "Specificity at 97% sensitivity",
}
_CONFOUNDER_TITLES = {
    "untouched": "unchanged images",
    "borders_hidden": "outer tenth hidden",
    "markers_hidden": "letters hidden",
    "lungs_only": "everything but the lungs hidden",
    "lung_area_hidden": "same area hidden in all images",
    "exposure": "mean gray level only",
    "histogram": "gray-level histogram only",
    "borders": "outer tenth only",
    "file_size": "file size only",
}
_SUFFIX_TITLES = {
    "one_sided": "score > mean + sd of the test normals",
    "two_sided": "|score - mean| > sd of the test normals",
    "quantile": "quantile",
    "averaged": "gradients averaged",
}
_CLASS_METRICS = ("precision", "recall", "f1", "specificity", "sensitivity", "auroc", "auprc")
_PERCENTAGES = (
    *("accuracy", "balanced_accuracy", "classes_accuracy", "multiclass_accuracy", "subset_accuracy"),
    *("f1", "macro_f1", "precision", "recall", "sensitivity", "specificity", "false_positive_rate", "agreement"),
    *("peak_in_lesion", "lesion_area", "heat_in", "lungs_area"),
    *("coverage", "single", "several", "empty", "rejected", "uncertain", "share"),
)


def task_titles(classes: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the titles of all tasks of a study, from the classes of its classification tasks.

    Example:
        >>> titles = task_titles({"binary": ("healthy", "abnormal"), "multiclass": ("healthy", "tumor", "fracture")})
        >>> titles["binary"], titles["multiclass"]
        ('1.A Healthy or abnormal', '1.B Healthy, tumor or fracture')
        >>> task_titles({"multilabel": ("Effusion", "Mass")})["multilabel"]
        '1 Effusion and Mass'
    """
    tasks = [task for task in CLASSIFICATIONS if task in classes]
    numbers = ("1",) if len(tasks) == 1 else ("1.A", "1.B")
    titles = {
        task: f"{number} {name_classes(classes[task], 'and' if task == 'multilabel' else 'or')}"
        for number, task in zip(numbers, tasks, strict=False)
    }
    return titles | _OTHER_TASKS


def name_classes(names: Sequence[str], word: str) -> str:
    """Return a few short class names as a list in words that begins with a capital letter, or else their number.

    Example:
        >>> name_classes(("a", "b", "c"), "or"), name_classes("abcdef", "or")
        ('A, b or c', '6 classes')
    """
    if len(names) > _MOST_NAMED or (len(names) > 2 and len(", ".join(names)) > _MOST_LETTERS):
        return f"{len(names)} {'findings' if word == 'and' else 'classes'}"
    listed = f"{', '.join(names[:-1])} {word} {names[-1]}" if len(names) > 1 else names[0]
    return listed[:1].upper() + listed[1:]


def metric_title(name: str) -> str:
    """Return the title of a metric.

    Example:
        >>> metric_title("recall_Mass"), metric_title("auroc_Mass_vs_Nodule"), metric_title("f1_quantile")
        ('Recall, Mass', 'AUROC, Mass against Nodule', 'F1, quantile')
    """
    for suffix, title in _SUFFIX_TITLES.items():
        if name.endswith(f"_{suffix}"):
            return f"{metric_title(name.removesuffix(f'_{suffix}'))}, {title}"
    if name in _METRIC_TITLES:
        return _METRIC_TITLES[name]
    metric, _, rest = name.partition("_")
    if metric in _CLASS_METRICS:
        title = _METRIC_TITLES.get(metric, metric.capitalize())
        return f"{title}, {rest.replace('_vs_', ' against ').replace('_', ' ')}" if rest else title
    return name.replace("_", " ").capitalize()


def confounder_title(name: str) -> str:
    """Return the title of an input of the confounder analysis.

    Example:
        >>> confounder_title("lungs_only"), confounder_title("borders")
        ('everything but the lungs hidden', 'outer tenth only')
    """
    return _CONFOUNDER_TITLES.get(name, name.replace("_", " "))


def is_percentage(name: str) -> bool:
    """Return whether a metric is shown as a percentage; other metrics have three decimals."""
    return name.startswith(_PERCENTAGES)


def format_value(name: str, value: float) -> str:
    """Return the value of a metric.

    Example:
        >>> format_value("accuracy", 0.774), format_value("auroc", 0.75), format_value("f1", float("nan"))
        ('77.4%', '0.750', 'not defined')
    """
    if not math.isfinite(value):
        return "not defined"
    return f"{100 * value:.1f}%" if is_percentage(name) else f"{value:.3f}"


def format_interval(name: str, estimate: Estimate) -> str:
    """Return the 95 % interval of a metric, or an empty string if it is not defined."""
    if not (math.isfinite(estimate.low) and math.isfinite(estimate.high)):
        return ""
    if is_percentage(name):
        return f"[{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"
    return f"[{estimate.low:.3f}, {estimate.high:.3f}]"


def format_estimate(name: str, estimate: Estimate) -> str:
    """Return a metric with its 95 % interval.

    Example:
        >>> format_estimate("accuracy", Estimate(0.9, 0.87, 0.93, 300))
        '90.0% [87.0, 93.0]'
    """
    return f"{format_value(name, estimate.value)} {format_interval(name, estimate)}".rstrip()


def format_with_ci(name: str, estimate: Estimate) -> str:
    """Return a metric with its 95 % interval in words, for sentences that stand alone.

    Example:
        >>> format_with_ci("auroc", Estimate(0.986, 0.976, 0.994, 319))
        '0.986 (95% CI 0.976 to 0.994)'
    """
    interval = format_interval(name, estimate).strip("[]").replace(",", " to")
    return f"{format_value(name, estimate.value)} (95% CI {interval})" if interval else format_estimate(name, estimate)


def format_percentile(percentile: float) -> str:
    """Return the rank of an anomaly score among held-out normals, rounded down.

    Args:
        percentile: share of the normals with a smaller anomaly score, in [0, 100].

    Example:
        >>> format_percentile(99.7), format_percentile(100)
        ('anomaly score above 99% of normals', 'anomaly score above all normals')
    """
    return f"anomaly score above {'all' if percentile == 100 else f'{math.floor(percentile)}% of'} normals"


def format_difference(name: str, estimate: Estimate) -> str:
    """Return a difference with its interval; percentages become percentage points.

    Example:
        >>> format_difference("accuracy", Estimate(-0.04, -0.06, -0.02, 300))
        '-4.0 points [-6.0, -2.0]'
    """
    if not math.isfinite(estimate.value):
        return format_estimate(name, estimate)
    value = f"{100 * estimate.value:+.1f} points" if is_percentage(name) else f"{estimate.value:+.3f}"
    return f"{value} {format_interval(name, estimate)}".rstrip()


def format_share(count: int, total: int) -> str:
    """Return a count and its share of a total."""
    return f"{count:,} ({100 * count / total:.1f}%)" if total else f"{count:,}"


def format_seconds(seconds: float) -> str:
    """Return a duration.

    Example:
        >>> format_seconds(4.26), format_seconds(192), format_seconds(5400)
        ('4.3 s', '3 min 12 s', '1 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def field_title(name: str) -> str:
    """Return the title of a field of `results.json`.

    Example:
        >>> field_title("memory_gib"), field_title("learning_rate")
        ('Memory (GiB)', 'Learning rate')
    """
    words = name.replace("_", " ")
    return (words[:1].upper() + words[1:]).replace(" gib", " (GiB)")
