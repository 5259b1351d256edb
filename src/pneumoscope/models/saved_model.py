"""A trained model as a folder: `model.weights.h5` and `card.json`.

Loading builds the model from this package's own code and reads numbers into it: nothing in the folder is executed.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from pneumoscope.data.source import hash_file
from pneumoscope.errors import ModelError
from pneumoscope.io.json_file import parse_json, write_json
from pneumoscope.io.write import atomic_write
from pneumoscope.models.card import ModelCard, ModelInput, TrainingRecord
from pneumoscope.models.registry import build_architecture, list_architectures
from pneumoscope.models.settings import choose_precision

CARD_VERSION = 2
WEIGHTS_NAME = "model.weights.h5"
CARD_NAME = "card.json"


@dataclass(frozen=True)
class SavedModel:
    """A trained model with its card."""

    model: keras.Model
    card: ModelCard


def save_model(model: keras.Model, bundle_dir: str | os.PathLike[str], record: TrainingRecord) -> SavedModel:
    """Write a trained model and its card.

    Args:
        model: built by `pneumoscope.models.registry`; its name is that of its architecture.
        bundle_dir: the folder; made where it is missing.
        record: how the model was trained.
    """
    bundle_dir = Path(bundle_dir)
    bundle_dir.mkdir(parents=True, exist_ok=True)
    with atomic_write(bundle_dir / WEIGHTS_NAME) as partial:
        model.save_weights(partial)
    card = ModelCard(
        **vars(record),
        card_version=CARD_VERSION,
        architecture=model.name,
        num_outputs=model.output_shape[-1],
        parameters=model.count_params(),
        input=ModelInput(tuple(model.input_shape[1:])),
        weights_sha256=hash_file(bundle_dir / WEIGHTS_NAME),
        keras=keras.__version__,
    )
    write_json(bundle_dir / CARD_NAME, card)
    return SavedModel(model, card)


def load_model(bundle_dir: str | os.PathLike[str], *, precision: str | None = None) -> SavedModel:
    """Load a trained model.

    Args:
        bundle_dir: the folder.
        precision: Keras dtype policy to compute in; the fastest of this machine by default.

    Raises:
        ModelError: if the folder holds no bundle, its card is damaged, its weights are not those of its card, or it
            was written by another version of the format.
    """
    bundle_dir = Path(bundle_dir)
    card = _load_card(bundle_dir)
    weights = bundle_dir / WEIGHTS_NAME
    if not weights.exists() or hash_file(weights) != card.weights_sha256:
        raise ModelError(f"{weights} is missing or not the file its card describes; train it again")
    keras.config.set_dtype_policy(precision or choose_precision())
    height, _, channels = card.input.shape
    model = build_architecture(card.architecture, num_outputs=card.num_outputs, size=height, channels=channels)
    model.load_weights(weights)
    return SavedModel(model, card)


def _load_card(bundle_dir: Path) -> ModelCard:
    path = bundle_dir / CARD_NAME
    try:
        text = path.read_text(encoding="utf-8")
        values: Any = json.loads(text)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{bundle_dir} holds no trained model ({error}); expected {CARD_NAME} and {WEIGHTS_NAME}, as "
            "`pneumoscope train` or `pneumoscope study` leave them"
        ) from None
    version, name = (values.get(key) if isinstance(values, dict) else None for key in ("card_version", "architecture"))
    if version != CARD_VERSION or name not in list_architectures():
        raise ModelError(
            f"{path} is version {version} of {name!r}; expected version {CARD_VERSION} of "
            f"{', '.join(list_architectures())}. Train it again with this version."
        )
    try:
        return parse_json(ModelCard, text)
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}); train the model again") from None
