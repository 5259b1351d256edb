"""A trained model as a folder with `model.keras`, `card.json` and `settings.toml`; and any `.keras` file as a model.

Keras opens `model.keras` without this package.
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
from pneumoscope.errors import ModelError, TrainingError
from pneumoscope.io.json_file import write_json
from pneumoscope.io.write import atomic_write, write_text
from pneumoscope.labels import LabelSet
from pneumoscope.models.card import (
    CARD_NAME,
    CARD_VERSION,
    MODEL_NAME,
    ModelCard,
    ModelInput,
    TrainingRecord,
    read_card,
)
from pneumoscope.models.flatten import copy_weights, find_embedding_layer, flatten_model
from pneumoscope.models.keras_file import activate_logits, open_keras, wrap_model
from pneumoscope.models.prediction import check_outputs, predict_probabilities
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.models.settings_file import SETTINGS_NAME, settings_to_toml
from pneumoscope.progress import log

# Configuration in the card of a `.keras` file; how it was trained is not known.
IMPORTED = "imported"


@dataclass(frozen=True)
class SavedModel:
    """A trained Keras model with its card.

    Attributes:
        model: the Keras model. It takes `(n, H, W, channels)` with values 0 to 255.
        card: what the model is and how it was trained.

    Example:
        >>> import pneumoscope as ps
        >>> saved = ps.load_model("out/models/improved-binary")  # doctest: +SKIP
        >>> saved.predict(["a.png", "b.dcm"])[:, 1]  # probability of the second class  # doctest: +SKIP
    """

    model: keras.Model
    card: ModelCard

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the columns of `predict`."""
        return self.card.label_set.classes if self.card.label_set else ()

    def predict(self, sources: ImageInput | Iterable[ImageInput]) -> NDArray[np.float64]:
        """Return the probability of each class for one or many radiographs.

        Images are resized to the input size of the model.

        Args:
            sources: one radiograph or an iterable of radiographs, see `load_image`.

        Returns:
            `(n, classes)` float64 in [0, 1], not calibrated; see `predict_probabilities`.

        Raises:
            ImageError: if an image cannot be read.
            ModelError: if the model is an autoencoder and has no classes.
        """
        if self.card.label_set is None:
            raise ModelError(f"{self.card.architecture} is an anomaly detector; expected a classifier")
        images = load_images(sources, size=self.card.input.shape[0])
        return predict_probabilities(self.model, images, self.card.label_set, mirror=self.card.mirror)


def save_model(model: keras.Model, model_dir: str | os.PathLike[str], record: TrainingRecord) -> SavedModel:
    """Save a model with its card and settings.

    Args:
        model: functional or sequential model of gray levels from 0 to 255. Its name is the name of the architecture.
        model_dir: folder to write; created if it does not exist.
        record: how the model was trained.

    Returns:
        The model as it was saved: a flat float32 copy.
    """
    model_dir = Path(model_dir)
    copy = flatten_model(model)
    with atomic_write(model_dir / MODEL_NAME) as partial:
        keras.saving.save_model(copy, partial)
    card = _describe(copy, record, hash_file(model_dir / MODEL_NAME))
    write_json(model_dir / CARD_NAME, card)
    if record.settings is not None:
        write_text(model_dir / SETTINGS_NAME, settings_to_toml(record.settings))
    return SavedModel(copy, card)


def load_model(
    path: str | os.PathLike[str],
    *,
    label_set: LabelSet | None = None,
    preprocess: str | None = None,
    size: int | None = None,
) -> SavedModel:
    """Load a trained Keras model, in float32.

    Args:
        path: folder written by `train_classifier`, `train_anomaly` or `run_study`; or any `.keras` file of a
            classifier. The file is opened in safe mode, which executes no code from it.
        label_set: classes of a `.keras` file, in the order of its outputs; one output stands for the second of two.
            The classes of a folder are those of its card.
        preprocess: what a `.keras` file expects of gray levels, see `PREPROCESSING`; not needed if its model begins
            with Rescaling or Normalization.
        size: side length of the images in pixels, if a `.keras` file takes images of any size.

    Returns:
        The model with its card. `SavedModel.predict` takes radiographs, `SavedModel.model` is a flat Keras model of
        gray levels from 0 to 255.

    Raises:
        ModelError: if there is no model, it is damaged or of another version, it cannot be used as a classifier, or its
            classes are not known.
    """
    path = Path(path)
    folder = path.parent if path.name == MODEL_NAME and (path.parent / CARD_NAME).exists() else path
    if folder.is_dir():
        return _load_run(folder, label_set)
    if path.suffix != ".keras":
        raise ModelError(f"{path} is no folder of a trained model and no .keras file; expected one of them")
    loaded = open_keras(path)
    if label_set is None:
        count = loaded.output_shape[-1]
        outputs = "one output (for the second of two classes)" if count == 1 else f"{count} outputs"
        raise ModelError(f"{path} has no card: name the classes of its {outputs}, with --classes a,b,c")
    model = wrap_model(loaded, preprocess=preprocess, size=size)
    check_outputs(model, label_set)
    activate_logits(model, independent=label_set.multi_label)
    record = TrainingRecord(
        label_set=label_set,
        settings=TrainingSettings(configuration=IMPORTED, architecture=path.name, size=model.input_shape[1]),
        precision="float32",
        seed=0,
        training_data_sha256="",
        embedding_layer=find_embedding_layer(model),
    )
    return SavedModel(model, _describe(model, record, hash_file(path)))


def init_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Start a model from the weights of another, except for its last layer.

    Layers correspond by place if all have the same shapes, otherwise by name. The number of layers taken, and the names
    of those that are not, are logged.

    Args:
        model: newly built model.
        path: folder of a trained model, or a `.keras` file.

    Raises:
        ModelError: if there is no such model.
        TrainingError: if no layer is the same.
    """
    path = Path(path)
    other = flatten_model(open_keras(path / MODEL_NAME if path.is_dir() else path))
    learning, others = ([layer for layer in one.layers if layer.weights] for one in (model, other))
    same = [_list_shapes(layer) for layer in learning[:-1]] == [_list_shapes(layer) for layer in others[:-1]]
    # Names that Keras chose itself differ between two models of one architecture.
    names = [layer.name for layer in (learning if same else others)]
    known = dict(zip(names, others, strict=True))
    left = []
    for layer in learning:
        source = None if layer is learning[-1] else known.get(layer.name)
        if source is None or _list_shapes(source) != _list_shapes(layer):
            left.append(layer.name)
        else:
            copy_weights(source, layer)
    new = f"{', '.join(left[:20])}{', ...' if len(left) > 20 else ''}"
    if len(left) == len(learning):
        raise TrainingError(f"{path} has no layer in common with {model.name}; expected a model of its architecture")
    log.info("weights of %d of %d layers come from %s; new: %s", len(learning) - len(left), len(learning), path, new)


def _list_shapes(layer: keras.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _describe(model: keras.Model, record: TrainingRecord, digest: str) -> ModelCard:
    return ModelCard(
        **vars(record),
        architecture=model.name,
        num_outputs=model.output_shape[-1],
        parameters=model.count_params(),
        input=ModelInput(tuple(model.input_shape[1:])),
        weights_sha256=digest,
        keras=keras.__version__,
    )


def _load_run(folder: Path, label_set: LabelSet | None) -> SavedModel:
    remedy = "Train the model again with this version of pneumoscope."
    card = read_card(
        ModelCard,
        folder,
        versions={None: CARD_VERSION},
        holds="trained model, as `pneumoscope train` or `pneumoscope study` leave it",
        remedy=remedy,
    )
    path = folder / MODEL_NAME
    if not path.exists() or hash_file(path) != card.weights_sha256:
        raise ModelError(f"{path} is missing or not the file its card describes. {remedy}")
    names = card.label_set.scored if card.label_set else ()
    if label_set is not None and (others := [name for name in label_set.classes if name not in names]):
        found = ", ".join(card.label_set.classes) if card.label_set else "no classes"
        raise ModelError(f"{folder} has {found} by its card, not {', '.join(others)}; leave the classes out")
    return SavedModel(open_keras(path), card)
