"""A trained model as a folder: `model.weights.h5` and `card.json`.

Loading builds the model from this package's own code and reads numbers into it: nothing in the folder is executed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import keras

from pneumoscope.data.source import hash_file
from pneumoscope.errors import ModelError
from pneumoscope.io.json_file import write_json
from pneumoscope.io.write import atomic_write
from pneumoscope.models.card import CARD_NAME, CARD_VERSION, ModelCard, ModelInput, TrainingRecord, read_card
from pneumoscope.models.registry import build_architecture, list_architectures
from pneumoscope.models.settings import choose_precision

WEIGHTS_NAME = "model.weights.h5"


@dataclass(frozen=True)
class SavedModel:
    """A trained model with its card."""

    model: keras.Model
    card: ModelCard


def save_model(model: keras.Model, model_dir: str | os.PathLike[str], record: TrainingRecord) -> SavedModel:
    """Write a trained model and its card.

    Args:
        model: built by `pneumoscope.models.registry`; its name is that of its architecture.
        model_dir: the folder; made where it is missing.
        record: how the model was trained.
    """
    model_dir = Path(model_dir)
    with atomic_write(model_dir / WEIGHTS_NAME) as partial:
        model.save_weights(partial)
    card = ModelCard(
        **vars(record),
        architecture=model.name,
        num_outputs=model.output_shape[-1],
        parameters=model.count_params(),
        input=ModelInput(tuple(model.input_shape[1:])),
        weights_sha256=hash_file(model_dir / WEIGHTS_NAME),
        keras=keras.__version__,
    )
    write_json(model_dir / CARD_NAME, card)
    return SavedModel(model, card)


def load_model(model_dir: str | os.PathLike[str], *, precision: str | None = None) -> SavedModel:
    """Load a trained model.

    Args:
        model_dir: the folder.
        precision: Keras dtype policy to compute in; the fastest of this machine by default.

    Raises:
        ModelError: if the folder holds no model, its card is damaged or of another version, its architecture is not
            registered, or its weights are not those of its card.
    """
    model_dir = Path(model_dir)
    card = read_card(
        ModelCard,
        model_dir,
        versions={None: CARD_VERSION},
        holds="trained model, as `pneumoscope train` or `pneumoscope study` leave it",
        remedy="Train the model again with this version of pneumoscope.",
    )
    if card.architecture not in list_architectures():
        expected = ", ".join(list_architectures())
        raise ModelError(f"{model_dir} holds the architecture {card.architecture!r}; expected one of {expected}")
    weights = model_dir / WEIGHTS_NAME
    if not weights.exists() or hash_file(weights) != card.weights_sha256:
        raise ModelError(f"{weights} is missing or not the file its card describes; train it again")
    keras.config.set_dtype_policy(precision or choose_precision())
    height, _, channels = card.input.shape
    model = build_architecture(card.architecture, num_outputs=card.num_outputs, size=height, channels=channels)
    model.load_weights(weights)
    return SavedModel(model, card)
