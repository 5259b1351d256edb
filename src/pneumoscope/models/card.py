"""`card.json` of a trained model: architecture, settings and training data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.errors import LabelError, ModelError
from pneumoscope.io.json_file import parse_json
from pneumoscope.io.read import decode_json, read_text
from pneumoscope.labels import LabelSet
from pneumoscope.models.settings import TrainingSettings

CARD_NAME = "card.json"
MODEL_NAME = "model.keras"
CARD_VERSION = 3

Card = TypeVar("Card")


@dataclass(frozen=True)
class ModelInput:
    """Input of a model.

    Attributes:
        shape: height, width and channels.
        range: minimum and maximum gray level.
        resize: resampling method of images.
    """

    shape: tuple[int, int, int]
    range: tuple[int, int] = (0, 255)
    resize: str = "anti-aliased bilinear"


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """How a model was trained.

    Attributes:
        label_set: classes in the order of the outputs; None for an anomaly detector.
        settings: training settings; None for an anomaly detector on a frozen network.
        precision: Keras dtype policy of the training.
        seed: of initialization, batch order and augmentation.
        chosen_epoch: epoch of the saved weights.
        training_data_sha256: hash of the training images, see `hash_table`; empty if they are not known.
        init_from: name of the model whose weights the training started from.
        embedding_layer: name of the embedding layer of a classifier.
        thresholds: thresholds on the score of an anomaly detector by name.
        thresholds_from: images that the thresholds were chosen on.
    """

    label_set: LabelSet | None = None
    settings: TrainingSettings | None = None
    precision: str
    seed: int
    chosen_epoch: int | None = None
    training_data_sha256: str
    init_from: str | None = None
    embedding_layer: str | None = None
    thresholds: dict[str, float] | None = None
    thresholds_from: str | None = None

    @property
    def mirror(self) -> bool:
        """Whether predictions are averaged with those of the mirror image."""
        return self.settings is not None and self.settings.mirror


@dataclass(frozen=True, kw_only=True)
class ModelCard(TrainingRecord):
    """Card of a saved model; `keras` and `pneumoscope` are the versions that wrote it."""

    card_version: int = CARD_VERSION
    architecture: str
    num_outputs: int
    parameters: int
    input: ModelInput
    weights_sha256: str
    keras: str
    pneumoscope: str = __version__
    notice: str = RESEARCH_USE_ONLY


def read_card(
    card_type: type[Card], folder: Path, *, versions: Mapping[str | None, int], holds: str, remedy: str
) -> Card:
    """Read `card.json` of a folder.

    Args:
        card_type: dataclass of the card.
        folder: folder with `card.json`.
        versions: supported format version by `kind` of the card; None is a card without `kind`.
        holds: expected content of the folder, for the error message.
        remedy: how to fix an unusable card, for the error message.

    Raises:
        ModelError: if the card is missing, damaged, or of an unsupported kind or version.
    """
    path = folder / CARD_NAME
    try:
        text = read_text(path)
        values = decode_json(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"{path} cannot be read ({reason}): the folder holds no {holds}") from None
    version, kind = (values.get(key) if isinstance(values, dict) else None for key in ("card_version", "kind"))
    if (kind, version) not in list(versions.items()):
        expected = " or ".join(_describe_version(*one) for one in versions.items())
        raise ModelError(f"{path} is {_describe_version(kind, version)}; expected {expected}. {remedy}")
    try:
        return parse_json(card_type, text)
    except (ValueError, LabelError) as error:
        raise ModelError(f"{path} is damaged ({error}). {remedy}") from None


def _describe_version(kind: object, version: object) -> str:
    part = "a saved Keras model" if kind is None else f"part {kind!r:.40} of an exported model"
    return f"version {version!r:.40} of {part}"
