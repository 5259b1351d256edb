"""Predictions and their maps as JSON, with a summary in words."""

import base64
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.app.schema import Decision, Evidence, GrayMap, Models, ReadingAnswer, ReferenceCases
from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.cards import PARTS, AnomalyCard
from pneumoscope.inference.decision import choose_explained_class, name_label
from pneumoscope.inference.reading import REJECTED, UNCERTAIN, Reading
from pneumoscope.inference.table import list_columns
from pneumoscope.io.json_file import to_plain
from pneumoscope.labels import SEPARATOR, LabelSet
from pneumoscope.report.figures.palette import UNKNOWN_STYLE, class_style

if TYPE_CHECKING:
    from pneumoscope.inference.explanation import ReadingMaps
    from pneumoscope.inference.reader import Reader

# One class of a group is called the likeliest if it has at least this share of the probability of the group.
_LIKELIEST_FROM = 0.6
SEVERAL = "several findings"  # on the map of reference cases


def describe_models(reader: "Reader") -> Models:
    """Return the model cards without long lists, and the classes and operating points."""
    labels = reader.label_set
    cards = {part: to_plain(card) for part in PARTS if (card := getattr(reader.models.cards, part)) is not None}
    # These long lists are needed for predictions only.
    del cards["classifier"]["calibration"]["resampled"]
    cards.get("anomaly", {}).pop("normal_scores", None)
    return {
        "notice": RESEARCH_USE_ONLY,
        "id": reader.models.id,
        "cards": cards,
        "label_set": to_plain(labels),
        "scored": list(labels.scored),
        "positive": labels.positive,
        "styles": class_style(labels),
        "operating_points": cards["classifier"]["operating_points"],
        "columns": list(list_columns(labels.scored)),
        "image_size": reader.models.image_size,
    }


def describe_references(reader: "Reader", *, has_images: bool) -> ReferenceCases:
    """Return the map of reference cases.

    Args:
        reader: whose reference cases are described.
        has_images: whether the server can show the images of the reference cases.
    """
    references, labels = reader.models.references, reader.label_set
    names = [] if references is None else [name_label(labels, label) for label in references.labels]
    names = [SEVERAL if SEPARATOR in name else name for name in names]
    coordinates = np.empty((0, 2)) if references is None else references.coordinates
    others = [name for name in dict.fromkeys(names) if name not in labels.classes]
    return {
        "notice": RESEARCH_USE_ONLY,
        "classes": [*labels.classes, *others],
        "styles": class_style(labels) | {name: UNKNOWN_STYLE for name in others if name != labels.negative},
        "names": [] if references is None else [str(name) for name in references.names],
        "labels": names,
        "coordinates": _encode(coordinates.astype("<f4")),
        "has_images": has_images and references is not None,
    }


def describe_reading(reading: Reading, labels: LabelSet, thresholds: Mapping[str, float]) -> ReadingAnswer:
    """Return a reading with the additional values that the page shows.

    Args:
        reading: of one file.
        labels: the classes.
        thresholds: by name, see `Reader.thresholds`.
    """
    intervals = {name: [round(low, 4), round(high, 4)] for name, (low, high) in reading.intervals.items()}
    summary = write_summary(reading, labels, thresholds)
    evidence = {name: getattr(reading, name) for name in Evidence.__annotations__} if intervals else None
    more = {"intervals": intervals, "thresholds": dict(thresholds), "summary": summary, "evidence": evidence}
    return cast(ReadingAnswer, {**reading.to_row(), **more})


def describe_decision(evidence: Evidence, reader: "Reader", operating_point: str) -> Decision:
    """Return the decision at an operating point, from the evidence of a reading of the same reader.

    Raises:
        PneumoscopeError: if the evidence is of other classes, or the operating point is unknown.
    """
    labels = reader.label_set
    names = {*evidence["probabilities"]}
    if not names == {*evidence["intervals"]} == {*labels.scored}:
        raise PneumoscopeError(f"the evidence is of other classes; expected {', '.join(labels.scored)}")
    undecided = Reading(
        "",
        operating_point,
        reader.models.id,
        probabilities=evidence["probabilities"],
        intervals={name: (low, high) for name, (low, high) in evidence["intervals"].items()},
        scored=labels.scored,
        positive_share=evidence["positive_share"],
        check=evidence["check"],
    )
    reading = reader.redecide(undecided, operating_point)
    explained = choose_explained_class(labels, reading.decision, reading.probabilities)
    return {
        "decision": str(reading.decision),
        "reason": reading.reason or None,
        "summary": write_summary(reading, labels, reader.thresholds(operating_point)),
        "explained": max(labels.members(explained), key=reading.probabilities.__getitem__),
    }


def add_maps(answer: ReadingAnswer, reading: Reading, maps: "ReadingMaps", reader: "Reader") -> None:
    """Add heatmaps, anomaly map, and position on the map of reference cases, as far as the models have them."""
    for neighbor, case in zip(answer["neighbors"], reading.neighbors, strict=True):
        neighbor["index"] = case.index
    if maps.position is not None:
        answer["position"] = [float(value) for value in maps.position]
    if maps.heatmaps is not None:
        encoded = _encode_gray(maps.heatmaps, float(maps.heatmaps.max()))
        explained = choose_explained_class(reader.label_set, reading.decision, reading.probabilities)
        likeliest = max(reader.label_set.members(explained), key=reading.probabilities.__getitem__)
        answer["heatmaps"] = {**encoded, "explained": likeliest, **reader.describe_heatmaps()}  # type: ignore[typeddict-item]
    if maps.anomaly_map is not None:
        answer["anomaly_map"] = _encode_gray(maps.anomaly_map, 1.0)


def write_anomaly_trust(card: AnomalyCard, name: str) -> str:
    """Return how well the anomaly score detects the classes `name`: its AUROC on the test set, in two sentences."""
    auroc = card.metrics["test"]["auroc"]
    interval = "" if math.isnan(auroc.high) else f" (95 % CI {auroc.low:.2f} to {auroc.high:.2f})"
    start = f"Detection of {name}: AUROC {auroc.value:.2f}{interval}, test set, n = {auroc.n}."
    if not interval:
        return f"{start} The test set is too small for an interval."
    if auroc.high < 0.5:
        return f"{start} These images score lower than normals, so a low score is no evidence against {name}."
    if auroc.low <= 0.5:
        return f"{start} This is no better than chance, so the score is no evidence for {name}."
    return start


def write_summary(reading: Reading, labels: LabelSet, thresholds: Mapping[str, float]) -> str:
    """Return a reading as a few sentences.

    Args:
        reading: of one file.
        labels: the classes.
        thresholds: by name. The summary names that of the positive class where the decision differs from that at 50 %.

    Example:
        >>> labels = LabelSet(("healthy", "tumor"), "healthy")
        >>> probabilities, intervals = {"healthy": 0.93, "tumor": 0.07}, {"tumor": (0.05, 0.09)}
        >>> reading = Reading("a.jpeg", "balanced", "0.1.0", None, "healthy", probabilities, intervals)
        >>> write_summary(reading, labels, {"tumor": 0.5})
        'The model predicts healthy. The probability of tumor is 7 % (95 % interval 5 to 9 %).'
    """
    if reading.error is not None:
        return f"The file could not be read as a radiograph: {reading.error.rstrip('.')}."
    decision = str(reading.decision)
    if decision == REJECTED:
        return f"The image was rejected and not classified. {reading.reason}".rstrip()
    findings = [name for name in decision.split(SEPARATOR) if name in labels.classes]
    if len(findings) > 1:
        shares = (f"{name} ({_format_percent(reading.probabilities[name])})" for name in findings)
        return " ".join(filter(None, [f"The model predicts {', '.join(shares)}.", reading.reason]))
    sentences = ["The model abstains." if decision == UNCERTAIN else f"The model predicts {decision}."]
    if labels.positive is None:
        name = findings[0] if findings else max(labels.classes, key=reading.probabilities.__getitem__)
        value = _format_probability(reading, name)
        sentences.append(f"Its probability is {value}." if findings else f"The likeliest is {name} with {value}.")
    else:
        limit = _compare_with_threshold(reading, labels, thresholds[labels.positive])
        text = f"The probability of {labels.positive} is {_format_probability(reading, labels.positive)}{limit}."
        sentences += [text, _compare_members(reading, labels)]
    return " ".join(filter(None, [*sentences, reading.reason]))


def _compare_with_threshold(reading: Reading, labels: LabelSet, threshold: float) -> str:
    is_above = reading.probabilities[str(labels.positive)] >= 0.5
    if reading.decision == UNCERTAIN or is_above == (reading.decision != labels.negative):
        return ""
    return f", {'below' if is_above else 'above'} the threshold of {_format_percent(threshold)}"


def _compare_members(reading: Reading, labels: LabelSet) -> str:
    """Return which class of several is the likeliest, if the decision is positive."""
    if reading.decision in (UNCERTAIN, labels.negative) or len(labels.positives) < 2:
        return ""
    first, second = sorted(labels.positives, key=lambda name: -reading.probabilities[name])[:2]
    if reading.probabilities[first] < _LIKELIEST_FROM * reading.probabilities[str(labels.positive)]:
        return f"Its likeliest classes are {first} and {second}, with similar probabilities."
    return f"Its likeliest class is {first}." if reading.decision != first else ""


def _format_probability(reading: Reading, name: str) -> str:
    percent = _format_percent(reading.probabilities[name])
    low, high = (f"{100 * end:.0f}" for end in reading.intervals[name])
    return percent if low == high else f"{percent} (95 % interval {low} to {high} %)"


def _format_percent(share: float) -> str:
    """Return a probability as a percentage, never as 0 or 100 %.

    Example:
        >>> _format_percent(0.0004), _format_percent(0.93), _format_percent(0.999)
        ('under 1 %', '93 %', 'over 99 %')
    """
    percent = f"{100 * share:.0f}"
    return {"0": "under 1 %", "100": "over 99 %"}.get(percent, f"{percent} %")


def _encode_gray(values: np.ndarray, white: float) -> GrayMap:
    """Return values as uint8: 0 stays 0, and `white` becomes 255. All are 0 if `white` is 0."""
    scaled = np.clip(values * (255 / white), 0, 255) if white > 0 else np.zeros_like(values)
    return {"shape": list(values.shape), "data": _encode(np.rint(scaled).astype(np.uint8))}


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
