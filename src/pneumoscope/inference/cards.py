"""The cards of exported models. Cards and files are validated once, when the models are loaded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.data.population import Population
from pneumoscope.data.source import hash_file
from pneumoscope.errors import ModelError
from pneumoscope.io.results import Estimate, require
from pneumoscope.io.results.calibration import CalibrationReport
from pneumoscope.labels import LabelSet
from pneumoscope.models.card import CARD_NAME, ModelInput, TrainingRecord, read_card

# Folders of an export, with the version of their cards.
CARD_VERSIONS = {"classifier": 4, "anomaly": 5, "references": 5}
PARTS = tuple(CARD_VERSIONS)
MODEL_NAME = "model.onnx"
REFERENCE_CASES_NAME = "reference_cases.npz"
OOD_DETECTOR_NAME = "ood_detector.npz"
_NEEDED = {"classifier": (MODEL_NAME,), "anomaly": (MODEL_NAME,), "references": (REFERENCE_CASES_NAME,)}

FieldValues = tuple[int, int, int]  # low, high and step of a receptive field


@dataclass(frozen=True, kw_only=True)
class CardHead:
    """Fields that all cards share; `files` maps each file of the folder to its SHA-256."""

    card_version: int
    kind: str
    files: dict[str, str]
    pneumoscope: str = __version__
    notice: str = RESEARCH_USE_ONLY


@dataclass(frozen=True)
class LayerGrid:
    """The receptive fields of a layer's feature map along each axis."""

    rows: FieldValues
    columns: FieldValues


@dataclass(frozen=True)
class ModelGraph:
    """The outputs of `model.onnx` by name; `heatmap` describes the class activation maps, None without any."""

    outputs: tuple[str, ...]
    heatmap: LayerGrid | None = None


@dataclass(frozen=True)
class HeatmapAudit:
    """Metrics of the heatmaps and a verdict in one sentence, from `pneumoscope research explain`."""

    method: str
    layer: str
    verdict: str
    metrics: dict[str, Estimate]
    configuration: str | None = None
    data_sha256: str | None = None


@dataclass(frozen=True)
class Adaptation:
    """How a reader was adapted to another hospital, see `pneumoscope.adapt`.

    Attributes:
        base: identity of the reader that was adapted.
        refitted: what was fitted again.
        images, patients: number of local images and patients.
        classes: number of images by class, or of the negative and the positive class.
        data_sha256: hash of the local images and their labels.
        verdict: whether the adaptation helps, in one or two sentences.
        metrics: metrics `before` and `after` the adaptation and their paired `difference`, cross-validated on the local
            images.
        sha256: hash of each local image, by which `evaluate` leaves it out.
    """

    base: str
    refitted: tuple[str, ...]
    images: int
    patients: int
    classes: dict[str, int]
    data_sha256: str
    verdict: str
    metrics: dict[str, dict[str, Estimate]]
    sha256: tuple[str, ...]


@dataclass(frozen=True)
class DataSummary:
    """The training data: hash, license, counts of the training split, and counts by split."""

    sha256: str
    license: str
    images: int
    patients: int
    splits: dict[str, dict[str, int]]


@dataclass(frozen=True, kw_only=True)
class ExportedModel(TrainingRecord, CardHead):
    """The card of one exported model."""

    architecture: str
    parameters: int
    input: ModelInput
    keras: str
    graph: ModelGraph


@dataclass(frozen=True, kw_only=True)
class ClassifierCard(CalibrationReport, ExportedModel):
    """The card of a reader's classifier.

    Attributes:
        data: the training data; None if it is unknown.
        population: patients and radiographs of the training data.
        missing: why a part of the reader was left out, by its name: `heatmaps`, `calibration`, `anomaly`, `references`,
            `ood_detector`.
        explanation: reliability of the heatmaps; None if not measured.
        adapted: how the reader was adapted to another hospital; None if it was not.
    """

    label_set: LabelSet
    data: DataSummary | None = None
    population: Population = field(default_factory=Population)
    missing: dict[str, str] = field(default_factory=dict)
    explanation: HeatmapAudit | None = None
    adapted: Adaptation | None = None

    def __post_init__(self) -> None:
        count = len(self.label_set.classes)
        fitted, expected = len(self.calibration.fitted), 2 * count if self.label_set.multi_label else count + 1
        require(fitted == expected, f"calibration.fitted has {fitted} values; expected {expected} for {count} classes")
        known = len(self.calibration.frequencies)
        require(known in (0, count), f"calibration.frequencies has {known} values; expected {count}, one per class")


@dataclass(frozen=True, kw_only=True)
class AnomalyCard(ExportedModel):
    """The card of a reader's anomaly detector.

    Attributes:
        normal_scores: anomaly scores of held-out normals, ascending.
        map_scale: values of the anomaly map that are scaled to 0 and to 1.
        metrics: metrics by split and name.
    """

    normal_scores: tuple[float, ...]
    map_scale: tuple[float, float]
    metrics: dict[str, dict[str, Estimate]]
    data: DataSummary

    def __post_init__(self) -> None:
        require(bool(self.normal_scores), "normal_scores is empty; expected the scores of held-out normals")
        require("auroc" in self.metrics.get("test", {}), "metrics.test.auroc is missing")


@dataclass(frozen=True, kw_only=True)
class ReferenceCard(CardHead):
    """The card of the reference cases and the OOD detector."""

    label_set: LabelSet
    data: DataSummary


Card = TypeVar("Card", bound=CardHead)


def load_card(card_type: type[Card], folder: Path, *, kind: str | None = None) -> Card:
    """Load the card of a folder and check the hashes of the files that it lists.

    Args:
        card_type: the dataclass to parse.
        folder: folder with the card and its files.
        kind: expected part, one of `PARTS`; None accepts every part.

    Raises:
        ModelError: if the card is missing, damaged, or of another part or version, or if a file is missing, changed
            or not listed.
    """
    card = read_card(
        card_type,
        folder,
        versions={name: version for name, version in CARD_VERSIONS.items() if kind in (None, name)},
        holds=f"exported model; expected {', '.join(PARTS)} as written by `pneumoscope export`",
        remedy="Export the models again with this version of pneumoscope.",
    )
    for name in _NEEDED.get(card.kind, ()):
        if name not in card.files:
            raise ModelError(f"{folder / CARD_NAME} does not list {name}; export the models again")
    for name, digest in card.files.items():
        path = folder / name
        if Path(name).name != name:
            raise ModelError(f"{folder / CARD_NAME} lists {name!r}; expected files in the same folder only")
        if not path.is_file():
            raise ModelError(f"{path} is missing; export the models again or reinstall pneumoscope")
        if hash_file(path) != digest:
            raise ModelError(
                f"{path} does not match its SHA-256 in {CARD_NAME}; export the models again or reinstall pneumoscope"
            )
    return card
