"""The cards and files of exported models: checked once, when the models are loaded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.data.source import hash_file
from pneumoscope.errors import ModelError
from pneumoscope.io.results import Estimate, require
from pneumoscope.io.results.calibration import CalibrationReport
from pneumoscope.models.card import CARD_NAME, ModelInput, TrainingRecord, read_card

# Folders of an export, and the version of each one's card.
CARD_VERSIONS = {"classifier": 3, "anomaly": 4, "references": 3}
PARTS = tuple(CARD_VERSIONS)
MODEL_NAME = "model.onnx"
SMALL_NAME = "model.float16.onnx"
LAYERS_NAME = "layers.onnx"
PREDICTION_NAME = "answers.onnx"
INT8_NAME = "answers.int8.onnx"
REFERENCE_CASES_NAME = "reference_cases.npz"
OOD_DETECTOR_NAME = "ood_detector.npz"

Precision = Literal["int8", "float32"]
FieldValues = tuple[int, int, int]  # low, high and step of a receptive field


@dataclass(frozen=True, kw_only=True)
class CardHead:
    """What the card of every part begins with; `files` holds the SHA-256 of each file of the folder by name."""

    card_version: int
    kind: str
    files: dict[str, str]
    pneumoscope: str = __version__
    notice: str = RESEARCH_USE_ONLY


@dataclass(frozen=True)
class LayerGrid:
    """The receptive fields of a layer's cells along each axis."""

    rows: FieldValues
    columns: FieldValues


@dataclass(frozen=True, kw_only=True)
class ModelGraph:
    """The ONNX files of a model.

    Attributes:
        file: graph of predictions and of the last layer's heatmaps or the anomaly map.
        answers_file: graph that predictions come from; None in an export of one model alone.
        agreement_of_int8: mean differences of int8 from float32 on validation, by output.
    """

    file: str
    outputs: tuple[str, ...]
    answers_file: str | None = None
    answers_precision: Precision | None = None
    agreement_of_int8: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClassifierGraphs(ModelGraph):
    """The ONNX files of a classifier; `layers_file` is the graph of heatmaps of the layers but the last."""

    layers_file: str
    layers_outputs: tuple[str, ...]
    layers: dict[str, LayerGrid]

    def __post_init__(self) -> None:
        require(bool(self.layers), "there are no layers, expected one or more")


@dataclass(frozen=True)
class HeatmapAudit:
    """Metrics of the heatmaps by name and a verdict in a sentence, as `pneumoscope research explain` leaves them."""

    method: str
    layer: str
    verdict: str
    metrics: dict[str, Estimate]
    configuration: str | None = None
    data_sha256: str | None = None


@dataclass(frozen=True)
class SubtypeAudit:
    """How reliable bacterial against viral is, as `pneumoscope research labels` leaves it.

    Attributes:
        images: number of pneumonias.
        inside: number of those in contiguous error runs.
        verdict: in a sentence or two; empty where there are no such runs.
        metrics: AUROC of bacterial against viral, of held-out predictions (`predictions_`) and of the image borders
            alone (`borders_`), `outside` and `inside` of the runs.
    """

    images: int
    inside: int
    verdict: str
    metrics: dict[str, Estimate]
    data_sha256: str | None = None


@dataclass(frozen=True)
class DataSummary:
    """The data that models were trained on: hash, license, counts of the training split, counts by split."""

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
    """The card of a reader's classifier; audits are None where they were not measured."""

    graph: ClassifierGraphs
    data: DataSummary
    explanation: HeatmapAudit | None = None
    subtypes: SubtypeAudit | None = None

    def __post_init__(self) -> None:
        count = len(self.classes)
        require(len(self.calibration.fitted) == count + 1, f"calibration.fitted is not of {count} classes")


@dataclass(frozen=True, kw_only=True)
class AnomalyCard(ExportedModel):
    """The card of a reader's anomaly detector.

    Attributes:
        normal_scores: of held-out normals, ascending.
        map_scale: values of the anomaly map that are drawn as 0 and as 1.
        metrics: metrics by split and name.
    """

    normal_scores: tuple[float, ...]
    map_scale: tuple[float, float]
    metrics: dict[str, dict[str, Estimate]]
    data: DataSummary

    def __post_init__(self) -> None:
        require(bool(self.normal_scores), "normal_scores are empty, expected those of held-out normals")
        require("auroc" in self.metrics.get("test", {}), "metrics.test.auroc is missing")


@dataclass(frozen=True, kw_only=True)
class ReferenceCard(CardHead):
    """The card of the reference cases and the OOD detector."""

    classes: tuple[str, ...]
    data: DataSummary


Card = TypeVar("Card", bound=CardHead)


def load_card(card_type: type[Card], folder: Path, *, kind: str | None = None) -> Card:
    """Return the card of a folder, once its files are those that the card names.

    Args:
        card_type: the dataclass to parse.
        folder: with the card and its files.
        kind: one of `PARTS`; None takes any of them.

    Raises:
        ModelError: if the card is missing, damaged, of another kind or version, or names other files.
    """
    card = read_card(
        card_type,
        folder,
        versions={name: version for name, version in CARD_VERSIONS.items() if kind in (None, name)},
        holds=f"exported model; expected {', '.join(PARTS)}, as `pneumoscope export` leaves them",
        remedy="Export the models again with this version of pneumoscope.",
    )
    for name, digest in card.files.items():
        path = folder / name
        if Path(name).name != name:
            raise ModelError(f"{folder / CARD_NAME} names {name!r}; expected files of its own folder only")
        if not path.is_file():
            raise ModelError(f"{path} is missing; export the models again, or install pneumoscope again")
        if hash_file(path) != digest:
            raise ModelError(f"{path} is not the file that {CARD_NAME} describes; export or install again")
    return card
