"""Readings, and the pictures behind them, as JSON; and each reading in one sentence of plain words."""

import base64
import math
import re
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.app.schema import Gray, Health, Heatmap, Known, Layer, Models, ReadingAnswer, Readings
from pneumoscope.json_archive import to_plain
from pneumoscope.reading.cards import PARTS, AnomalyCard
from pneumoscope.reading.reading import Reading

if TYPE_CHECKING:
    from pneumoscope.reading.reader import Look, Reader

# Long lists of a card that only the reader needs.
_LONG_LISTS = ("normal_scores", "resampled")
# A kind of pneumonia is named as the likelier one from this share of the pneumonia's probability on.
_LIKELIER_FROM = 0.6
_NO_SIGNS_UNDER = 0.1


def describe_health(reader: "Reader") -> Health:
    """Return that the server runs."""
    return {"status": "ok", "notice": RESEARCH_USE_ONLY, "version": __version__, "model": reader.models.id}


def describe_models(reader: "Reader") -> Models:
    """Return the models' cards without long lists, their classes, layers and operating points."""
    models = reader.models
    cards = {part: _leave_out(to_plain(getattr(models.cards, part)), _LONG_LISTS) for part in PARTS}
    return {
        "notice": RESEARCH_USE_ONLY,
        "id": models.id,
        "cards": cards,
        "classes": list(models.classes),
        "layers": _describe_layers(reader),
        "operating_points": cards["classifier"]["operating_points"],
    }


def describe_known(reader: "Reader", *, pictures: bool) -> Known:
    """Return the map of known images.

    Args:
        reader: whose known images.
        pictures: whether the server can show them.
    """
    models = reader.models
    return {
        "notice": RESEARCH_USE_ONLY,
        "classes": list(models.classes),
        "names": [str(name) for name in models.known.names],
        "labels": [models.classes[label] for label in models.known.labels],
        "coordinates": _encode(models.known.coordinates.astype("<f4")),
        "pictures": pictures,
    }


def answer_all(reader: "Reader", readings: list[ReadingAnswer]) -> Readings:
    """Return the answer to a request of one or more files."""
    return {"notice": RESEARCH_USE_ONLY, "model": reader.models.id, "readings": readings}


def answer_reading(reading: Reading, *, threshold: float, size: tuple[int, int] | None) -> ReadingAnswer:
    """Return a reading with what a page shows beside its columns.

    Args:
        reading: of one file.
        threshold: probability of pneumonia from which it counts as one.
        size: height and width of the original, upright; None where it could not be read.
    """
    row: dict[str, Any] = reading.to_row()
    row["intervals"] = {name: [round(low, 4), round(high, 4)] for name, (low, high) in reading.intervals.items()}
    row["threshold"] = threshold
    row["sentence"] = write_sentence(reading, threshold=threshold)
    row["size"] = None if size is None else list(size)
    return cast(ReadingAnswer, row)


def add_look(answer: ReadingAnswer, reading: Reading, look: "Look", reader: "Reader") -> None:
    """Add what stands behind a reading: heat-maps, the anomaly map, and places among the known images."""
    for neighbor, case in zip(answer["neighbors"], reading.neighbors, strict=True):
        neighbor["index"] = case.index
    answer["position"] = [float(value) for value in look.position]
    answer["heatmaps"] = {
        layer: cast(Heatmap, {**_encode_gray(maps, float(maps.max())), **reader.describe_layer(layer)})
        for layer, maps in look.heatmaps.items()
    }
    answer["anomaly_map"] = _encode_gray(look.anomaly_map, 1.0)


def write_anomaly_trust(card: AnomalyCard) -> str:
    """Return how far to trust the anomaly score, by what its card measured on test films."""
    auroc = card.figures["test"]["auroc"]
    told = f"On {auroc.n} test films its AUROC for pneumonia is {auroc.value:.2f}"
    if math.isnan(auroc.high):
        return f"{told}; they are too few to tell more."
    if auroc.high < 0.5:
        return f"{told}: pneumonias look less unusual to it than normals, so a low score says nothing against one."
    if auroc.low <= 0.5:
        return f"{told}, no better than chance: it says nothing of pneumonia."
    return f"{told} ({auroc.low:.2f} to {auroc.high:.2f})."


def write_sentence(reading: Reading, *, threshold: float) -> str:
    """Return a reading as one calm sentence.

    Args:
        reading: of one file.
        threshold: probability of pneumonia from which it counts as one; named where the answer would surprise without.

    Example:
        >>> shares = {"normal": 0.07, "bacterial": 0.73, "viral": 0.2, "pneumonia": 0.93}
        >>> found = {"decision": "pneumonia", "probabilities": shares, "intervals": {"pneumonia": (0.88, 0.96)}}
        >>> write_sentence(Reading("film.jpeg", "balanced", "0.1.0", **found), threshold=0.5)
        'The models see signs of pneumonia (probability 93 %, 88 to 96 %), more likely bacterial than viral.'
    """
    if reading.error is not None:
        return f"This file could not be read as a radiograph: {_lower_start(reading.error.rstrip('.'))}."
    if reading.decision == "refused":
        return f"The models give no answer for this image: {_join(reading.reason)}."
    found = _word_probability(reading)
    if reading.decision == "not sure":
        return f"The models are not sure about this image (probability of pneumonia {found}): {_join(reading.reason)}."
    doubt = f", but {_join(reading.reason)}" if reading.reason else ""
    share = reading.probabilities["pneumonia"]
    if reading.decision == "normal" and share < 0.5:
        amount = "no signs" if share < _NO_SIGNS_UNDER else "no clear signs"
        return f"The models see {amount} of pneumonia (probability of pneumonia {found}){doubt}."
    limit = _word_percent(threshold)
    if reading.decision == "normal":
        below = f"(probability {found}, under the threshold of {limit})"
        return f"The models see some signs of pneumonia, but too few to call it so {below}{doubt}."
    if share < 0.5:
        above = f"(probability {found}, over the threshold of {limit})"
        return f"The models see possible signs of pneumonia {above}, {_word_kind(reading)}{doubt}."
    return f"The models see signs of pneumonia (probability {found}), {_word_kind(reading)}{doubt}."


def _word_kind(reading: Reading) -> str:
    bacterial, viral = reading.probabilities["bacterial"], reading.probabilities["viral"]
    if max(bacterial, viral) < _LIKELIER_FROM * (bacterial + viral):
        return "about as likely bacterial as viral"
    return "more likely bacterial than viral" if bacterial > viral else "more likely viral than bacterial"


def _word_probability(reading: Reading) -> str:
    found = _word_percent(reading.probabilities["pneumonia"])
    low, high = (f"{100 * end:.0f}" for end in reading.intervals["pneumonia"])
    return found if low == high else f"{found}, {low} to {high} %"


def _word_percent(share: float) -> str:
    """Return a share as a percentage, never as sure as 0 or 100 %.

    Example:
        >>> _word_percent(0.0004), _word_percent(0.93), _word_percent(0.999)
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
    return (
        "; ".join(_lower_start(part) for part in re.split(r"(?<=\.) (?=[A-Z])", reason)).replace(".;", ";").rstrip(".")
    )


def _lower_start(clause: str) -> str:
    """Return a clause that begins small, unless it begins with an abbreviation or a name in capitals."""
    return clause[:1].lower() + clause[1:] if clause[1:2].islower() or clause[1:2] == " " else clause


def _describe_layers(reader: "Reader") -> list[Layer]:
    # Asked of the graph itself, because its card does not say how many cells a layer has.
    size = reader.models.image_size
    heatmaps = reader.look(np.zeros((size, size), np.uint8)).heatmaps
    layers = [
        {"name": name, "shape": list(heatmaps[name].shape[1:]), **reader.describe_layer(name)} for name in reader.layers
    ]
    return cast(list[Layer], layers)


def _leave_out(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {name: _leave_out(inner, names) for name, inner in value.items() if name not in names}
    return value


def _encode_gray(values: np.ndarray, white: float) -> Gray:
    """Return values as uint8, 0 standing for 0 and 255 for `white`, which may be 0 where all values are."""
    scaled = np.clip(values * (255 / white), 0, 255) if white > 0 else np.zeros_like(values)
    return {"shape": list(values.shape), "data": _encode(np.rint(scaled).astype(np.uint8))}


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
