"""The card of a trained model, `card.json`: what was trained, how, and on what."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.errors import ModelError
from pneumoscope.io.json_file import parse_json
from pneumoscope.models.settings import TrainingSettings

CARD_NAME = "card.json"
CARD_VERSION = 2

Card = TypeVar("Card")


@dataclass(frozen=True)
class ModelInput:
    """What a model takes: height, width and channels; smallest and largest gray level; the resampling of images."""

    shape: tuple[int, int, int]
    range: tuple[int, int] = (0, 255)
    resize: str = "anti-aliased bilinear"


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """How a model was trained.

    Attributes:
        classes: in the order of the outputs; `normal` alone for an anomaly detector.
        precision: Keras dtype policy of the training.
        seed: of the weights, the order and the augmentation.
        chosen_epoch: whose weights were kept.
        training_data_sha256: hash of the training images, see `hash_table`.
        embedding_layer: of a classifier.
        thresholds: of an anomaly detector, on its score, by name.
        thresholds_from: the images that they were chosen on.
    """

    classes: tuple[str, ...]
    settings: TrainingSettings
    precision: str
    seed: int
    chosen_epoch: int | None = None
    training_data_sha256: str
    embedding_layer: str | None = None
    thresholds: dict[str, float] | None = None
    thresholds_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelCard(TrainingRecord):
    """The card beside the weights of a trained model; `keras` and `pneumoscope` are the versions that wrote it."""

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
    """Return the card of a folder.

    Args:
        card_type: the dataclass to parse.
        folder: with `card.json`.
        versions: expected version of the format by `kind`; None is a card without a kind.
        holds: what the folder is expected to hold, for the error.
        remedy: what to do about a card that cannot be used, for the error.

    Raises:
        ModelError: if the card is missing, damaged, or of another kind or version.
    """
    path = folder / CARD_NAME
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"{path} cannot be read ({reason}): the folder holds no {holds}") from None
    version, kind = (values.get(key) if isinstance(values, dict) else None for key in ("card_version", "kind"))
    if (kind, version) not in list(versions.items()):
        expected = " or ".join(f"version {number} of kind {name!r}" for name, number in versions.items())
        raise ModelError(f"{path} is version {version} of kind {kind!r}; expected {expected}. {remedy}")
    try:
        return parse_json(card_type, text)
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}). {remedy}") from None
