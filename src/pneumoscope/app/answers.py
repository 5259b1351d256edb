"""Predictions and their maps as JSON, and each prediction as one sentence."""

import base64
import math
import re
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.app.schema import GrayMap, Health, Models, ReadingAnswer, Readings, ReferenceCases
from pneumoscope.inference.cards import PARTS, AnomalyCard
from pneumoscope.inference.reading import Reading
from pneumoscope.io.json_file import to_plain

if TYPE_CHECKING:
    from pneumoscope.inference.explanation import ReadingMaps
    from pneumoscope.inference.reader import Reader

# Smallest share of the probability of pneumonia from which one class is called more likely.
_LIKELIER_FROM = 0.6
_NO_SIGNS_BELOW = 0.1


def describe_health(reader: "Reader") -> Health:
    """Return that the server runs, and with which models."""
    return {"status": "ok", "notice": RESEARCH_USE_ONLY, "version": __version__, "model": reader.models.id}


def describe_models(reader: "Reader") -> Models:
    """Return the models' cards without long lists, their classes, layers and operating points."""
    models = reader.models
    cards = {part: to_plain(getattr(models.cards, part)) for part in PARTS}
    # Long lists that only a prediction needs.
    del cards["anomaly"]["normal_scores"], cards["classifier"]["calibration"]["resampled"]
    # Measured on a blank image, because the card does not contain the shapes of the layers.
    heatmaps = reader.compute_maps(np.zeros((models.image_size, models.image_size), np.uint8)).heatmaps
    layers: list[Any] = [
        {"name": name, "shape": list(heatmaps[name].shape[1:]), **reader.describe_layer(name)} for name in reader.layers
    ]
    return {
        "notice": RESEARCH_USE_ONLY,
        "id": models.id,
        "cards": cards,
        "classes": list(models.classes),
        "layers": layers,
        "operating_points": cards["classifier"]["operating_points"],
    }


def describe_references(reader: "Reader", *, pictures: bool) -> ReferenceCases:
    """Return the map of reference cases.

    Args:
        reader: with the reference cases.
        pictures: whether the server can show them.
    """
    classes, references = list(reader.models.classes), reader.models.references
    return {
        "notice": RESEARCH_USE_ONLY,
        "classes": classes,
        "names": [str(name) for name in references.names],
        "labels": [classes[label] for label in references.labels],
        "coordinates": _encode(references.coordinates.astype("<f4")),
        "pictures": pictures,
    }


def describe_readings(reader: "Reader", readings: list[ReadingAnswer]) -> Readings:
    """Return the answer to a request of one or more files."""
    return {"notice": RESEARCH_USE_ONLY, "model": reader.models.id, "readings": readings}


def describe_reading(reading: Reading, *, threshold: float, size: tuple[int, int] | None) -> ReadingAnswer:
    """Return a reading with what a page shows besides its columns.

    Args:
        reading: of one file.
        threshold: an image counts as pneumonia when `probability >= threshold`.
        size: height and width of the original, upright; None where it could not be read.
    """
    intervals = {name: [round(low, 4), round(high, 4)] for name, (low, high) in reading.intervals.items()}
    sentence = write_sentence(reading, threshold=threshold)
    answer = {**reading.to_row(), "intervals": intervals, "threshold": threshold, "sentence": sentence}
    return cast(ReadingAnswer, {**answer, "size": size and list(size)})


def add_maps(answer: ReadingAnswer, reading: Reading, maps: "ReadingMaps", reader: "Reader") -> None:
    """Add the heatmaps, the anomaly map, and the position on the map of reference cases."""
    for neighbor, case in zip(answer["neighbors"], reading.neighbors, strict=True):
        neighbor["index"] = case.index
    answer["position"] = [float(value) for value in maps.position]
    answer["heatmaps"] = {
        layer: {**_encode_gray(values, float(values.max())), **reader.describe_layer(layer)}  # type: ignore[typeddict-item]
        for layer, values in maps.heatmaps.items()
    }
    answer["anomaly_map"] = _encode_gray(maps.anomaly_map, 1.0)


def write_anomaly_trust(card: AnomalyCard) -> str:
    """Return how far to trust the anomaly score, by its AUROC on the test set."""
    auroc = card.metrics["test"]["auroc"]
    start = f"On {auroc.n} test images its AUROC for pneumonia is {auroc.value:.2f}"
    if math.isnan(auroc.high):
        return f"{start}; these are too few for an interval."
    if auroc.high < 0.5:
        return f"{start}: pneumonias score lower than normals, so a low score is no evidence against pneumonia."
    if auroc.low <= 0.5:
        return f"{start}, no better than chance: the score is no evidence for pneumonia."
    return f"{start} ({auroc.low:.2f} to {auroc.high:.2f})."


def write_sentence(reading: Reading, *, threshold: float) -> str:
    """Return a reading as one sentence.

    Args:
        reading: of one file.
        threshold: an image counts as pneumonia when `probability >= threshold`; named where the decision differs from
            that at 50 %.

    Example:
        >>> probabilities = {"normal": 0.07, "bacterial": 0.73, "viral": 0.2, "pneumonia": 0.93}
        >>> intervals = {"pneumonia": (0.88, 0.96)}
        >>> reading = Reading("a.jpeg", "balanced", "0.1.0", None, "pneumonia", probabilities, intervals)
        >>> write_sentence(reading, threshold=0.5)
        'The models see signs of pneumonia (probability 93 %, 88 to 96 %), more likely bacterial than viral.'
    """
    if reading.error is not None:
        return f"This file could not be read as a radiograph: {_lower_start(reading.error.rstrip('.'))}."
    reason = _join(reading.reason)
    if reading.decision == "rejected":
        return f"The models give no answer for this image: {reason}."
    share, probability = reading.probabilities["pneumonia"], _format_probability(reading)
    if reading.decision == "uncertain":
        return f"The models are uncertain about this image (probability of pneumonia {probability}): {reason}."
    doubt, limit = f", but {reason}" if reason else "", _format_percent(threshold)
    if reading.decision == "normal" and share < 0.5:
        amount = "no signs" if share < _NO_SIGNS_BELOW else "no clear signs"
        return f"The models see {amount} of pneumonia (probability of pneumonia {probability}){doubt}."
    if reading.decision == "normal":
        below = f"(probability {probability}, under the threshold of {limit})"
        return f"The models see some signs of pneumonia, but too few to call it so {below}{doubt}."
    over = f", over the threshold of {limit}" if share < 0.5 else ""
    signs = "possible signs" if over else "signs"
    subtypes = _compare_subtypes(reading)
    return f"The models see {signs} of pneumonia (probability {probability}{over}), {subtypes}{doubt}."


def _compare_subtypes(reading: Reading) -> str:
    bacterial, viral = reading.probabilities["bacterial"], reading.probabilities["viral"]
    if max(bacterial, viral) < _LIKELIER_FROM * (bacterial + viral):
        return "about as likely bacterial as viral"
    return "more likely bacterial than viral" if bacterial > viral else "more likely viral than bacterial"


def _format_probability(reading: Reading) -> str:
    percent = _format_percent(reading.probabilities["pneumonia"])
    low, high = (f"{100 * end:.0f}" for end in reading.intervals["pneumonia"])
    return percent if low == high else f"{percent}, {low} to {high} %"


def _format_percent(share: float) -> str:
    """Return a probability as a percentage, never as 0 or 100 %.

    Example:
        >>> _format_percent(0.0004), _format_percent(0.93), _format_percent(0.999)
        ('under 1 %', '93 %', 'over 99 %')
    """
    percent = f"{100 * share:.0f}"
    return {"0": "under 1 %", "100": "over 99 %"}.get(percent, f"{percent} %")


def _join(reason: str) -> str:
    """Return sentences as clauses of one.

    Example:
        >>> _join("DICOM says lateral. The film looks upside down.")
        'DICOM says lateral; the film looks upside down'
    """
    return "; ".join(_lower_start(part.rstrip(".")) for part in re.split(r"(?<=\.) (?=[A-Z])", reason))


def _lower_start(clause: str) -> str:
    """Return a clause with a lower first letter, unless it begins with an abbreviation."""
    return clause[:1].lower() + clause[1:] if clause[1:2].islower() or clause[1:2] == " " else clause


def _encode_gray(values: np.ndarray, white: float) -> GrayMap:
    """Return values as uint8: 0 is 0, and 255 is `white`, which is 0 where all values are."""
    scaled = np.clip(values * (255 / white), 0, 255) if white > 0 else np.zeros_like(values)
    return {"shape": list(values.shape), "data": _encode(np.rint(scaled).astype(np.uint8))}


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
