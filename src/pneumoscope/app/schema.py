"""The types of the JSON API, documented at `/api/openapi.json`."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict


class Fault(TypedDict):
    """Why a request failed."""

    notice: str
    error: str


class Health(TypedDict):
    """Status and version of the server, and identity of its models."""

    status: str
    notice: str
    version: str
    model: str


class Axis(TypedDict):
    """Receptive fields of a feature map along one axis: position i covers pixels low + i * step to high + i * step."""

    low: int
    high: int
    step: int


class Models(TypedDict):
    """Cards, classes and operating points of the models.

    label_set has classes, negative, groups and multi_label. scored lists the names with a probability; positive is the
    name for all classes but the negative one, or null. styles are [color, shape] by name. Operating points are by name
    and class. image_size is the side of the model input in pixels.
    """

    notice: str
    id: str
    cards: dict[str, Any]
    label_set: dict[str, Any]
    scored: list[str]
    positive: str | None
    styles: Mapping[str, Sequence[str]]
    operating_points: dict[str, dict[str, Any]]
    image_size: int


class ReferenceCases(TypedDict):
    """The map of reference cases: coordinates are (n, 2) little-endian float32 in base64, labels are class names.

    styles are [color, shape] by class. has_images says whether /api/references/{index}.png is available. Models without
    reference cases have empty lists.
    """

    notice: str
    classes: list[str]
    styles: Mapping[str, Sequence[str]]
    names: list[str]
    labels: list[str]
    coordinates: str
    has_images: bool


class Phantom(TypedDict):
    """A synthetic image that shows no person; label is its class."""

    name: str
    label: str
    url: str


class Neighbor(TypedDict):
    """A reference case near the image. Its index in /api/references is present if detail=full."""

    name: str
    label: str
    distance: float
    index: NotRequired[int]


class GrayMap(TypedDict):
    """A map: (h, w) uint8 in base64; 255 is the value 1."""

    shape: list[int]
    data: str


class Heatmaps(GrayMap):
    """The class activation maps: (classes, h, w) uint8 in base64; 255 is the largest value of all classes.

    explained is the class of the prediction.
    """

    explained: str
    rows: Axis
    columns: Axis


@with_config(ConfigDict(extra="allow"))
class ReadingAnswer(TypedDict):
    """The prediction for one file.

    The first keys are the columns of pneumoscope read, with p_<name> for each name in scored of /api/models.
    Probabilities are calibrated; intervals are 95 % intervals. thresholds are by name: of the positive class, or of
    each finding. summary is a text in English.

    The last five keys are present only if detail=full. Rejected images have no position, heatmaps, anomaly_map or
    content, nor have models without the parts. content is the part of the image that the models see, inside of uniform
    bars: left, top, right and bottom as shares of its sides. image is the radiograph as PNG in a data: URL, or null if
    browsers can show the file itself.
    """

    path: str
    error: str | None
    decision: str | None
    operating_point: str
    anomaly_score: float | None
    anomaly_percentile: float | None
    in_distribution: bool | None
    reason: str | None
    neighbors: list[Neighbor]
    heatmap: str | None
    model: str
    intervals: dict[str, list[float]]
    thresholds: dict[str, float]
    summary: str
    position: NotRequired[list[float]]
    heatmaps: NotRequired[Heatmaps]
    anomaly_map: NotRequired[GrayMap]
    content: NotRequired[list[float]]
    image: NotRequired[str | None]


class Readings(TypedDict):
    """One reading per file, in the order of the files."""

    notice: str
    model: str
    readings: list[ReadingAnswer]
