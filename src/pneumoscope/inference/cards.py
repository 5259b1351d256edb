"""The cards of exported models, as `card.json` holds them: parsed and checked once, when the models are loaded."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.data.source import hash_file
from pneumoscope.errors import ModelError
from pneumoscope.io.json_file import parse_json
from pneumoscope.io.results import Estimate, require
from pneumoscope.io.results.calibration import CalibrationReport
from pneumoscope.models.card import ModelInput, TrainingRecord

CARD_NAME = "card.json"
PARTS = ("classifier", "anomaly", "known")
_EXPORT_AGAIN = "Export the models again with this version of pneumoscope."

Precision = Literal["int8", "float32"]
Span = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class CardHead:
    """What the card of every part begins with.

    Attributes:
        card_version: of the format.
        kind: `classifier`, `anomaly` or `known`.
        files: SHA-256 of each file of the folder, by name.
        pneumoscope: version that wrote the files.
        notice: what the models are not meant for.
    """

    card_version: int
    kind: str
    files: dict[str, str]
    pneumoscope: str = __version__
    notice: str = RESEARCH_USE_ONLY


@dataclass(frozen=True)
class LayerGrid:
    """The pixels that the cells of a layer see, `low`, `high` and `step` along each axis."""

    rows: Span
    columns: Span


@dataclass(frozen=True, kw_only=True)
class ModelGraph:
    """The ONNX files of a model.

    Attributes:
        file: graph of predictions and of the last layer's heatmaps or anomaly map.
        outputs: of `file`.
        answers_file: graph that predictions come from; None in an export of one model alone.
        answers_precision: of that graph.
        agreement_of_int8: mean differences of int8 from float32 on validation, by output.
    """

    file: str
    outputs: tuple[str, ...]
    answers_file: str | None = None
    answers_precision: Precision | None = None
    agreement_of_int8: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClassifierGraphs(ModelGraph):
    """The ONNX files of a classifier.

    Attributes:
        layers_file: graph of heatmaps of the earlier layers.
        layers_outputs: of `layers_file`.
        layers: where the cells of each layer lie, from the input on.
    """

    layers_file: str
    layers_outputs: tuple[str, ...]
    layers: dict[str, LayerGrid]

    def __post_init__(self) -> None:
        require(bool(self.layers), "there are no layers, expected one or more")


@dataclass(frozen=True)
class Explanation:
    """Metrics of the heatmaps and a verdict on them, as the benchmark of explanations leaves them.

    Attributes:
        method: of the heatmaps.
        layer: that they look through.
        verdict: how far to trust them, in a sentence.
        figures: metrics by name.
        data_sha256: hash of the data that they were measured on.
    """

    method: str
    layer: str
    verdict: str
    figures: dict[str, Estimate]
    data_sha256: str | None = None


@dataclass(frozen=True)
class SubtypeAudit:
    """How far bacterial against viral is to be trusted, as the audit of labels leaves it.

    Attributes:
        images: number of pneumonias.
        inside: number of those in contiguous error runs.
        verdict: in a sentence or two; empty where there are no such runs.
        figures: AUROC of bacterial against viral, of held-out predictions (`nets_`) and of the image borders alone
            (`borders_`), `outside` and `inside` of the runs.
        data_sha256: hash of the audited data.
    """

    images: int
    inside: int
    verdict: str
    figures: dict[str, Estimate]
    data_sha256: str | None = None


@dataclass(frozen=True)
class TrainingData:
    """The data that models were trained on.

    Attributes:
        sha256: hash over all images and splits.
        license: terms of the images.
        images, patients: counts of the training split.
        splits: counts of images, patients and images of each class, by split.
    """

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
class ExportedClassifier(ExportedModel):
    """The card of one exported classifier."""

    graph: ClassifierGraphs


@dataclass(frozen=True, kw_only=True)
class ClassifierCard(CalibrationReport, ExportedClassifier):
    """The card of a reader's classifier.

    Attributes:
        data: that it was trained on.
        explanation, subtypes: None where they were not measured.
    """

    data: TrainingData
    explanation: Explanation | None = None
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
        figures: metrics by split and name.
        data: that it was trained on.
    """

    normal_scores: tuple[float, ...]
    map_scale: tuple[float, float]
    figures: dict[str, dict[str, Estimate]]
    data: TrainingData

    def __post_init__(self) -> None:
        require(bool(self.normal_scores), "normal_scores are empty, expected those of held-out normals")
        require("auroc" in self.figures.get("test", {}), "figures.test.auroc is missing")


@dataclass(frozen=True, kw_only=True)
class ReferenceCard(CardHead):
    """The card of the reference cases that new images are compared with."""

    classes: tuple[str, ...]
    data: TrainingData


CARD_VERSIONS = {"classifier": 2, "anomaly": 3, "known": 2}
Card = TypeVar("Card", bound=CardHead)


def load_card(card_type: type[Card], bundle_dir: Path, *, kind: str | None = None) -> Card:
    """Return the card of a folder, once its files are those that the card names.

    Args:
        card_type: the dataclass to parse.
        bundle_dir: the folder.
        kind: one of `PARTS`; None takes any of them.

    Raises:
        ModelError: if the card is missing, damaged, of another kind or version, or names other files.
    """
    path = bundle_dir / CARD_NAME
    try:
        text = path.read_text(encoding="utf-8")
        values: Any = json.loads(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(
            f"{path} cannot be read ({reason}); expected a folder with {', '.join(PARTS)}, "
            "as `pneumoscope export` leaves it"
        ) from None
    version, actual = (values.get(key) if isinstance(values, dict) else None for key in ("card_version", "kind"))
    expected = {kind: CARD_VERSIONS[kind]} if kind else CARD_VERSIONS
    if actual not in list(expected) or version != expected[actual]:
        choices = " or ".join(f"version {number} of {name!r}" for name, number in expected.items())
        raise ModelError(
            f"{path} is version {version} of a bundle of kind {actual!r}; expected {choices}. {_EXPORT_AGAIN}"
        )
    try:
        card = parse_json(card_type, text)
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}). {_EXPORT_AGAIN}") from None
    _check_files(bundle_dir, card.files)
    return card


def _check_files(bundle_dir: Path, files: dict[str, str]) -> None:
    for name, digest in files.items():
        path = bundle_dir / name
        if Path(name).name != name:
            raise ModelError(f"{bundle_dir / CARD_NAME} names {name!r}; expected files of its own folder only")
        if not path.is_file():
            raise ModelError(f"{path} is missing; export the models again, or install pneumoscope again")
        if hash_file(path) != digest:
            raise ModelError(f"{path} is not the file that {CARD_NAME} describes; export or install again")
