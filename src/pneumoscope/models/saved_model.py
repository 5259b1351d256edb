"""A trained model as a folder with `model.weights.h5` and `card.json`.

`load_model` builds the architecture from the code of this package and loads the weights. It executes no code from the
folder.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.image import ImageInput, load_images
from pneumoscope.data.source import hash_file
from pneumoscope.errors import ModelError
from pneumoscope.io.json_file import write_json
from pneumoscope.io.write import atomic_write
from pneumoscope.models.card import CARD_NAME, CARD_VERSION, ModelCard, ModelInput, TrainingRecord, read_card
from pneumoscope.models.prediction import predict_classes
from pneumoscope.models.registry import build_architecture, list_architectures
from pneumoscope.models.settings import choose_precision

WEIGHTS_NAME = "model.weights.h5"


@dataclass(frozen=True)
class SavedModel:
    """A trained Keras model with its card.

    Attributes:
        model: the Keras model. It takes `(n, H, W, channels)` with values 0 to 255.
        card: what the model is and how it was trained.

    Example:
        >>> import pneumoscope as ps
        >>> saved = ps.load_model("out/models/improved-binary")  # doctest: +SKIP
        >>> saved.predict(["a.png", "b.dcm"])[:, 1]  # probability of pneumonia  # doctest: +SKIP
    """

    model: keras.Model
    card: ModelCard

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the columns of `predict`."""
        return self.card.classes

    def predict(self, sources: ImageInput | Iterable[ImageInput]) -> NDArray[np.float64]:
        """Return the probability of each class for one or many radiographs.

        Images are resized to the input size of the model.

        Args:
            sources: one radiograph or an iterable of radiographs, see `load_image`.

        Returns:
            `(n, classes)` float64 in [0, 1]; rows sum to 1. The probabilities are not calibrated.

        Raises:
            ImageError: if an image cannot be read.
            ModelError: if the model is an autoencoder and has no classes.
        """
        if len(self.classes) < 2:
            raise ModelError(f"{self.card.architecture} is an anomaly detector; expected a classifier")
        return predict_classes(self.model, load_images(sources, size=self.card.input.shape[0]))


def save_model(model: keras.Model, model_dir: str | os.PathLike[str], record: TrainingRecord) -> SavedModel:
    """Save a trained model with its card.

    Args:
        model: a model of a registered architecture. Its name is the name of the architecture.
        model_dir: folder to write; created if it does not exist.
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
    """Load a trained Keras model.

    Args:
        model_dir: folder written by `train_classifier`, `train_anomaly` or `run_study`.
        precision: Keras dtype policy, such as `float32`; by default the fastest on this machine.

    Returns:
        The model with its card. `SavedModel.predict` takes radiographs, `SavedModel.model` is the Keras model.

    Raises:
        ModelError: if the folder holds no model, the card is damaged or of another version, the architecture is not
            registered, or the weights differ from the card's hash.
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
