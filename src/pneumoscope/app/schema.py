"""The types of the JSON API, which `/api/openapi.json` describes."""

from typing import Any, NotRequired

from typing_extensions import TypedDict


class Fault(TypedDict):
    """Why a request failed."""

    notice: str
    error: str


class Health(TypedDict):
    """That the server runs, and with which models."""

    status: str
    notice: str
    version: str
    model: str


class Axis(TypedDict):
    """Receptive fields of a layer along one axis: cell i has the pixels from low + i * step to high + i * step."""

    low: int
    high: int
    step: int


class Layer(TypedDict):
    """A convolutional layer of the classifier; shape is [h, w] in cells."""

    name: str
    shape: list[int]
    rows: Axis
    columns: Axis


class Models(TypedDict):
    """The models: their cards, classes, layers, and thresholds on the probability of pneumonia."""

    notice: str
    id: str
    cards: dict[str, Any]
    classes: list[str]
    layers: list[Layer]
    operating_points: dict[str, dict[str, Any]]


class ReferenceCases(TypedDict):
    """The map of reference cases: coordinates are (n, 2) little-endian float32 in base64, labels are class names."""

    notice: str
    classes: list[str]
    names: list[str]
    labels: list[str]
    coordinates: str
    pictures: bool


class Phantom(TypedDict):
    """A synthetic radiograph that shows no person."""

    name: str
    kind: str
    url: str


class Neighbor(TypedDict):
    """A reference case near the image; index into /api/references comes with detail=full."""

    name: str
    label: str
    distance: float
    index: NotRequired[int]


class GrayMap(TypedDict):
    """A map: (h, w) uint8 in base64, 255 = 1."""

    shape: list[int]
    data: str


class Heatmap(GrayMap):
    """The heatmap of each class in a layer: (classes, h, w) uint8 in base64, 255 = the layer's largest value."""

    rows: Axis
    columns: Axis


class ReadingAnswer(TypedDict):
    """The prediction for one file.

    The first fifteen keys are the columns of pneumoscope read. Probabilities are calibrated, intervals are 95 %.
    From position on the keys come with detail=full alone; picture (a PNG as data: URL for what a browser cannot
    show, else null) comes for rejected images too.
    """

    path: str
    error: str | None
    decision: str | None
    operating_point: str
    p_normal: float | None
    p_bacterial: float | None
    p_viral: float | None
    p_pneumonia: float | None
    anomaly_score: float | None
    anomaly_percentile: float | None
    in_distribution: bool | None
    reason: str | None
    neighbors: list[Neighbor]
    heatmap: str | None
    model: str
    intervals: dict[str, list[float]]
    threshold: float
    sentence: str
    size: list[int] | None
    position: NotRequired[list[float]]
    heatmaps: NotRequired[dict[str, Heatmap]]
    anomaly_map: NotRequired[GrayMap]
    picture: NotRequired[str | None]


class Readings(TypedDict):
    """One reading per file, in the order of the files."""

    notice: str
    model: str
    readings: list[ReadingAnswer]
