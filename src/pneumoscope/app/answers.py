"""Predictions and their maps as JSON, with a summary in words."""

import base64
import math
from typing import TYPE_CHECKING, cast

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.app.schema import GrayMap, Health, Models, ReadingAnswer, Readings, ReferenceCases
from pneumoscope.inference.cards import PARTS, AnomalyCard
from pneumoscope.inference.reading import Reading
from pneumoscope.io.json_file import to_plain

if TYPE_CHECKING:
    from pneumoscope.inference.explanation import ReadingMaps
    from pneumoscope.inference.reader import Reader

# One subtype is called more likely if it has at least this share of the probability of pneumonia.
_LIKELIER_FROM = 0.6


def describe_health(reader: "Reader") -> Health:
    """Return the status of the server and the identity of its models."""
    return {"status": "ok", "notice": RESEARCH_USE_ONLY, "version": __version__, "model": reader.models.id}


def describe_models(reader: "Reader") -> Models:
    """Return the model cards without long lists, and the classes and operating points."""
    models = reader.models
    cards = {part: to_plain(getattr(models.cards, part)) for part in PARTS}
    # These long lists are needed for predictions only.
    del cards["anomaly"]["normal_scores"], cards["classifier"]["calibration"]["resampled"]
    return {
        "notice": RESEARCH_USE_ONLY,
        "id": models.id,
        "cards": cards,
        "classes": list(models.classes),
        "operating_points": cards["classifier"]["operating_points"],
    }


def describe_references(reader: "Reader", *, has_images: bool) -> ReferenceCases:
    """Return the map of reference cases.

    Args:
        reader: whose reference cases are described.
        has_images: whether the server can show the images of the reference cases.
    """
    classes, references = list(reader.models.classes), reader.models.references
    return {
        "notice": RESEARCH_USE_ONLY,
        "classes": classes,
        "names": [str(name) for name in references.names],
        "labels": [classes[label] for label in references.labels],
        "coordinates": _encode(references.coordinates.astype("<f4")),
        "has_images": has_images,
    }


def describe_readings(reader: "Reader", readings: list[ReadingAnswer]) -> Readings:
    """Return the response to a request with one or more files."""
    return {"notice": RESEARCH_USE_ONLY, "model": reader.models.id, "readings": readings}


def describe_reading(reading: Reading, *, threshold: float, size: tuple[int, int] | None) -> ReadingAnswer:
    """Return a reading with the additional values that the page shows.

    Args:
        reading: of one file.
        threshold: an image counts as pneumonia when `probability >= threshold`.
        size: height and width of the upright original in pixels; None if it could not be read.
    """
    intervals = {name: [round(low, 4), round(high, 4)] for name, (low, high) in reading.intervals.items()}
    summary = write_summary(reading, threshold=threshold)
    answer = {**reading.to_row(), "intervals": intervals, "threshold": threshold, "summary": summary}
    return cast(ReadingAnswer, {**answer, "size": size and list(size)})


def add_maps(answer: ReadingAnswer, reading: Reading, maps: "ReadingMaps", reader: "Reader") -> None:
    """Add the heatmaps, the anomaly map, and the position on the map of reference cases."""
    for neighbor, case in zip(answer["neighbors"], reading.neighbors, strict=True):
        neighbor["index"] = case.index
    answer["position"] = [float(value) for value in maps.position]
    if maps.heatmaps is not None:
        encoded = _encode_gray(maps.heatmaps, float(maps.heatmaps.max()))
        answer["heatmaps"] = {**encoded, **reader.describe_heatmaps()}  # type: ignore[typeddict-item]
    answer["anomaly_map"] = _encode_gray(maps.anomaly_map, 1.0)


def write_anomaly_trust(card: AnomalyCard) -> str:
    """Return how well the anomaly score detects pneumonia: its AUROC on the test set, in at most two sentences."""
    auroc = card.metrics["test"]["auroc"]
    if math.isnan(auroc.high):
        metric = f"AUROC {auroc.value:.2f}, test set, n = {auroc.n}"
        return f"Detection of pneumonia: {metric}. The test set is too small for an interval."
    metric = f"AUROC {auroc.value:.2f} (95 % CI {auroc.low:.2f} to {auroc.high:.2f}), test set, n = {auroc.n}"
    start = f"Detection of pneumonia: {metric}."
    if auroc.high < 0.5:
        return f"{start} Pneumonias score lower than normals, so a low score is no evidence against pneumonia."
    if auroc.low <= 0.5:
        return f"{start} This is no better than chance, so the score is no evidence for pneumonia."
    return start


def write_summary(reading: Reading, *, threshold: float) -> str:
    """Return a reading as a few sentences.

    Args:
        reading: of one file.
        threshold: an image counts as pneumonia when `probability >= threshold`. The summary names it where the
            decision differs from the decision at 50 %.

    Example:
        >>> probabilities = {"normal": 0.93, "bacterial": 0.05, "viral": 0.02, "pneumonia": 0.07}
        >>> intervals = {"pneumonia": (0.05, 0.09)}
        >>> reading = Reading("a.jpeg", "balanced", "0.1.0", None, "normal", probabilities, intervals)
        >>> write_summary(reading, threshold=0.5)
        'The model predicts normal. The probability of pneumonia is 7 % (95 % interval 5 to 9 %).'
    """
    if reading.error is not None:
        return f"The file could not be read as a radiograph: {reading.error.rstrip('.')}."
    if reading.decision == "rejected":
        return f"The image was rejected and not classified. {reading.reason}".rstrip()
    is_positive = reading.probabilities["pneumonia"] >= 0.5
    limit = ""
    if reading.decision == "normal" and is_positive:
        limit = f", below the threshold of {_format_percent(threshold)}"
    elif reading.decision == "pneumonia" and not is_positive:
        limit = f", above the threshold of {_format_percent(threshold)}"
    sentences = [
        "The model abstains." if reading.decision == "uncertain" else f"The model predicts {reading.decision}.",
        f"The probability of pneumonia is {_format_probability(reading)}{limit}.",
        _compare_subtypes(reading) if reading.decision == "pneumonia" else "",
        reading.reason,
    ]
    return " ".join(filter(None, sentences))


def _compare_subtypes(reading: Reading) -> str:
    bacterial, viral = reading.probabilities["bacterial"], reading.probabilities["viral"]
    if max(bacterial, viral) < _LIKELIER_FROM * (bacterial + viral):
        return "Bacterial and viral pneumonia are about equally likely."
    more, less = ("Bacterial", "viral") if bacterial > viral else ("Viral", "bacterial")
    return f"{more} pneumonia is more likely than {less} pneumonia."


def _format_probability(reading: Reading) -> str:
    percent = _format_percent(reading.probabilities["pneumonia"])
    low, high = (f"{100 * end:.0f}" for end in reading.intervals["pneumonia"])
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
