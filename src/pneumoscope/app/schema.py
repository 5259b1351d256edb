"""The types of the JSON API, documented at `/api/openapi.json`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

Share = Annotated[float, Field(ge=0, le=1)]


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
    and class. columns are those of a table of readings. image_size is the side of the model input in pixels.
    """

    notice: str
    id: str
    cards: dict[str, Any]
    label_set: dict[str, Any]
    scored: list[str]
    positive: str | None
    styles: Mapping[str, Sequence[str]]
    operating_points: dict[str, dict[str, Any]]
    columns: list[str]
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
    """A synthetic image that shows no person; label is its decision, empty if that is not the class it was drawn of."""

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


class Evidence(TypedDict):
    """What a decision depends on beside the operating point: send it unchanged to /api/decide.

    probabilities and intervals are by name, not rounded. positive_share is the share of positive reference cases among
    the nearest. check is the reason of the out-of-distribution detector.
    """

    probabilities: dict[str, Share]
    intervals: dict[str, Annotated[list[Share], Field(min_length=2, max_length=2)]]
    positive_share: Share | None
    check: str


class DecideRequest(TypedDict):
    """Readings of the models `model` to decide at another operating point."""

    model: str
    operating_point: str
    evidence: list[Evidence]


class Decision(TypedDict):
    """The keys of a reading that depend on the operating point; explained is the class of the heatmap."""

    decision: str
    reason: str | None
    summary: str
    explained: str


class Decisions(TypedDict):
    """One decision per evidence, in order; thresholds are by name."""

    notice: str
    model: str
    operating_point: str
    thresholds: dict[str, float]
    decisions: list[Decision]


class DicomHeader(TypedDict):
    """Patient and study as the file states them; empty texts if it does not."""

    name: str
    id: str
    age: str
    sex: str
    view: str
    study_date: str


class PixelSpacing(TypedDict):
    """Distance between rows and between columns in mm; plane is `calibrated`, `at the detector` or not stated."""

    rows: float
    columns: float
    plane: str


class DicomValues(TypedDict):
    """Values after the modality LUT, in a unit such as HU.

    image is a PNG in a data: URL; its codes are 256 * red + green. Code 0 is ends[0], code 65535 is ends[1].
    """

    image: str
    ends: list[float]
    unit: str


class WindowPreset(TypedDict):
    """A window as [center, width] in the unit of the values, or a table: the gray level of each code, base64."""

    name: str
    window: list[float] | None
    table: str | None


class DicomView(TypedDict):
    """What a viewer shows of a DICOM file. The first preset is how the models receive the image."""

    header: DicomHeader
    spacing: PixelSpacing | None
    values: DicomValues | None
    presets: list[WindowPreset]


@with_config(ConfigDict(extra="allow"))
class ReadingAnswer(TypedDict):
    """The prediction for one file.

    The first keys are the columns of pneumoscope read, with p_<name>, p_<name>_low and p_<name>_high for each name in
    scored of /api/models.
    Probabilities are calibrated; intervals are 95 % intervals. thresholds are by name: of the positive class, or of
    each finding. summary is a text in English.

    evidence is for /api/decide; it is null without probabilities.

    The last seven keys are present only if detail=full. Rejected images have no position, heatmaps, anomaly_map or
    content, nor have models without the parts. content is the part of the image that the models see, inside of uniform
    bars: left, top, right and bottom as shares of its sides. image is the radiograph as PNG in a data: URL, or null if
    browsers can show the file itself. size is the width and height of the file in pixels. dicom is null for other
    files.
    """

    path: str
    error: str | None
    decision: str | None
    operating_point: str
    anomaly_score: float | None
    anomaly_percentile: float | None
    anomalous: bool | None
    in_distribution: bool | None
    reason: str | None
    warnings: list[str]
    neighbors: list[Neighbor]
    width: int | None
    height: int | None
    sop_instance_uid: str | None
    study_instance_uid: str | None
    patient_id: str | None
    accession_number: str | None
    age_years: float | None
    sex: str | None
    view: str | None
    laterality: str | None
    study_date: str | None
    heatmap: str | None
    dicom_files: list[str]
    model: str
    intervals: dict[str, list[float]]
    thresholds: dict[str, float]
    summary: str
    evidence: Evidence | None
    position: NotRequired[list[float]]
    heatmaps: NotRequired[Heatmaps]
    anomaly_map: NotRequired[GrayMap]
    content: NotRequired[list[float]]
    image: NotRequired[str | None]
    size: NotRequired[list[int]]
    dicom: NotRequired[DicomView | None]


class Readings(TypedDict):
    """One reading per file, in the order of the files."""

    notice: str
    model: str
    readings: list[ReadingAnswer]
