"""The card of a trained model: what was trained, how, and on what."""

from dataclasses import dataclass

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.models.settings import TrainingSettings


@dataclass(frozen=True)
class ModelInput:
    """What a model takes.

    Attributes:
        shape: height, width and channels.
        range: smallest and largest gray level.
        resize: how images get that size.
    """

    shape: tuple[int, int, int]
    range: tuple[int, int] = (0, 255)
    resize: str = "anti-aliased bilinear"


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """How a model was trained.

    Attributes:
        classes: class names in the order of the outputs; `normal` alone for an anomaly detector.
        settings: of the training.
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
    """The `card.json` beside the weights of a trained model.

    Attributes:
        card_version: of the format.
        architecture: name in `pneumoscope.models.registry`.
        num_outputs: of the architecture.
        parameters: number of weights.
        input: what the model takes.
        weights_sha256: hash of the weights file.
        keras, pneumoscope: versions that wrote the file.
        notice: what the model is not meant for.
    """

    card_version: int
    architecture: str
    num_outputs: int
    parameters: int
    input: ModelInput
    weights_sha256: str
    keras: str
    pneumoscope: str = __version__
    notice: str = RESEARCH_USE_ONLY
