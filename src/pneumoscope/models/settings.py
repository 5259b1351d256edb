"""Training settings: one frozen dataclass, saved with the weights."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from pneumoscope.errors import TrainingError
from pneumoscope.io.json_file import parse_json

Configuration = Literal["reference", "improved", "default", "large"]
Optimizer = Literal["adam", "adamw", "sgd"]
ClassWeights = Literal["none", "balanced"]
# Configurations that a study trains by default.
STUDY_CONFIGURATIONS: tuple[Configuration, ...] = ("reference", "improved")
MIN_AUTOENCODER_EPOCHS = 8
PHANTOM_SIZE = 96
_OPTIONAL = ("architecture", "weights", "frozen_until", "patience", "max_gradient")
PHANTOM_BATCH_SIZE = 16


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the uniform random changes of a training image; 0 disables a change.

    Attributes:
        rotation: largest angle in degrees, in both directions.
        zoom: largest change of each side, as a share of the size.
        crop: largest share of both sides that is cut away. The kept share is log-uniform from `1 - crop` to `1 + pad`.
        pad: largest share of both sides that is added.
        aspect: largest change of aspect ratio; one side is multiplied by `exp(x)`, the other by `exp(-x)`.
        shift: largest shift along each axis, as a share of the size.
        flip: probability of a left-right flip.
        gamma: largest natural logarithm of the exponent of a gamma correction, in both directions.
        contrast: largest relative change of contrast.
        brightness: largest change of brightness, as a share of the full range.
        blur: largest standard deviation of a Gaussian filter in pixels, on 30 % of the images.
        noise: largest standard deviation of Gaussian noise, as a share of the full range, on 30 % of the images.
        erase: largest side of an erased rectangle, as a share of the size.
        erase_share: share of the images with an erased rectangle.
    """

    rotation: float = 0.0
    zoom: float = 0.0
    crop: float = 0.0
    pad: float = 0.0
    aspect: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    erase: float = 0.0
    erase_share: float = 1.0


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training.

    Attributes:
        configuration: a name that `configuration_settings` accepts.
        epochs: number of epochs. With `balanced`, an epoch draws the same number of images of every class: the lower
            median of the numbers of images per class, which is that of the rarer of two classes. Rarer classes repeat.
        batch_size: number of images per step.
        learning_rate: learning rate; with `cosine`, the peak.
        cosine: linear warmup and cosine decay to zero; otherwise the learning rate is constant.
        warmup: share of the steps with linear warmup.
        optimizer: `adam` has no weight decay; `sgd` has a momentum of 0.9.
        max_gradient: largest norm of the gradient of a weight; larger gradients are scaled down. None disables it.
        weight_decay: decoupled weight decay of `adamw` and `sgd`.
        label_smoothing: share of the target that is spread over the classes.
        dropout: dropout rate before the last layer.
        balanced: draw all classes equally often, and weight them equally in validation.
        averaging: weight of the past in an exponential moving average of the weights, updated after each epoch; 0
            disables it. Use 0 with batch normalization in every layer: averaged moving statistics do not match averaged
            weights.
        class_weights: `balanced` weights the classes equally in the training loss.
        keep_best: keep the epoch with the lowest validation loss; otherwise keep the last epoch.
        patience: number of epochs without a lower validation loss after which training stops, with the best epoch
            kept; None disables it.
        augmentation: ranges of the random changes of training images.
        size: side of the input images in pixels.
        architecture: see `build_architecture`; None is the configuration's own architecture.
        weights: pretrained weights of the architecture, a file or `imagenet`; None is random weights.
        mirror: predict the average of an image and its mirror image.
        frozen_until: name of the last layer that keeps its pretrained weights, and all layers before it; None trains
            all layers.
    """

    configuration: str = "reference"
    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 1e-3
    cosine: bool = False
    warmup: float = 0.0
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.0
    max_gradient: float | None = None
    label_smoothing: float = 0.0
    dropout: float = 0.5
    balanced: bool = False
    class_weights: ClassWeights = "none"
    averaging: float = 0.0
    keep_best: bool = False
    patience: int | None = None
    augmentation: Augmentation = Augmentation()
    size: int = 128
    architecture: str | None = None
    weights: str | None = None
    mirror: bool = False
    frozen_until: str | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "size", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}, expected to be 1 or more")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate {self.learning_rate} is expected to be above 0")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values for JSON; see `without_paths`."""
        return asdict(self.without_paths())

    def without_paths(self) -> "TrainingSettings":
        """Return the settings with the paths of a weights file and of a model file replaced by their names."""
        weights, architecture = (path and Path(path).name for path in (self.weights, self.architecture))
        return replace(self, weights=weights, architecture=architecture)


AUGMENTATIONS = {
    "none": Augmentation(),
    "light": Augmentation(rotation=5, zoom=0.05, shift=0.05),
    "default": Augmentation(rotation=10, zoom=0.12, shift=0.08, gamma=0.35, contrast=0.2, brightness=0.1, erase=0.3),
    "strong": Augmentation(
        rotation=10,
        zoom=0.12,
        aspect=0.08,
        shift=0.08,
        gamma=0.4,
        contrast=0.25,
        brightness=0.1,
        blur=0.8,
        noise=0.02,
        erase=0.3,
        erase_share=0.25,
    ),
}

_DEFAULT = TrainingSettings(
    configuration="default",
    epochs=8,
    learning_rate=6e-4,
    cosine=True,
    warmup=0.1,
    weight_decay=0.02,
    max_gradient=1.0,
    label_smoothing=0.05,
    dropout=0.3,
    balanced=True,
    augmentation=replace(AUGMENTATIONS["strong"], zoom=0.0, crop=0.09, pad=0.33, aspect=0.12, shift=0.06, flip=0.5),
    size=192,
    architecture="efficientnet-lite0",
    weights="imagenet",
    mirror=True,
)

_CONFIGURATIONS: dict[str, TrainingSettings] = {
    "reference": TrainingSettings(optimizer="adam"),
    "improved": TrainingSettings(
        configuration="improved",
        learning_rate=5e-4,
        cosine=True,
        warmup=0.05,
        weight_decay=0.01,
        label_smoothing=0.05,
        balanced=True,
        averaging=0.7,
        keep_best=True,
        augmentation=AUGMENTATIONS["default"],
    ),
    "default": _DEFAULT,
    "large": replace(_DEFAULT, configuration="large", epochs=12, size=260, architecture="efficientnet-lite2"),
}


def configuration_settings(configuration: str, *, epochs: int | None = None) -> TrainingSettings:
    """Return the classifier settings of a configuration.

    Args:
        configuration: `reference` has the settings that the reference study reports; `improved` has the same
            architectures and improved settings; `default` has the shipped architecture, pretrained; `large` has a
            larger one and more pixels, for a GPU.
        epochs: number of epochs; by default as the configuration sets.

    Raises:
        ValueError: if the configuration is unknown.
    """
    if configuration not in _CONFIGURATIONS:
        raise ValueError(f"configuration is {configuration!r}, expected one of {', '.join(_CONFIGURATIONS)}")
    settings = _CONFIGURATIONS[configuration]
    return settings if epochs is None else _change_epochs(settings, epochs)


def _change_epochs(settings: TrainingSettings, epochs: int) -> TrainingSettings:
    return replace(
        settings,
        epochs=epochs,
        # The moving average covers the same share of the epochs in runs of any length.
        averaging=settings.averaging ** (settings.epochs / max(1, epochs)),
    )


def augmentation_preset(name: str) -> Augmentation:
    """Return the ranges of `none`, `light` (pose), `default` (pose and exposure) or `strong`.

    Raises:
        TrainingError: if there is no such preset.
    """
    if name not in AUGMENTATIONS:
        raise TrainingError(f"augmentation is {name!r}, expected one of {', '.join(AUGMENTATIONS)}")
    return AUGMENTATIONS[name]


def override_settings(settings: TrainingSettings, **changes: Any) -> TrainingSettings:
    """Return settings with some of them changed, as by the options of a command or a file.

    Args:
        settings: the settings to change. `averaging` follows a change of `epochs`. Another
            architecture starts from random weights and trains all layers, unless they are given.
        changes: by name; None changes nothing, `none` is None. `augmentation` is the name of a preset, an
            `Augmentation`, or a dictionary of its ranges.

    Raises:
        TrainingError: if a name is unknown, or a value has the wrong type or range.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    if given.get("architecture", settings.architecture) != settings.architecture:
        given = {"weights": "none", "frozen_until": "none"} | given
    ranges = given.get("augmentation", {})
    if isinstance(ranges, str):
        ranges = augmentation_preset(ranges)
    ranges = asdict(ranges) if isinstance(ranges, Augmentation) else ranges
    _check_names(given, TrainingSettings, "setting")
    _check_names(ranges if isinstance(ranges, dict) else {}, Augmentation, "range of the augmentation")
    given |= {name: None for name in _OPTIONAL if given.get(name) == "none"}
    given |= {"augmentation": ranges} if "augmentation" in given else {}
    try:
        if type(epochs := given.get("epochs")) is int:
            settings = _change_epochs(settings, epochs)
        return parse_json(TrainingSettings, json.dumps({**asdict(settings), **given}))
    except (TypeError, ValueError) as error:
        raise TrainingError(f"the settings are not usable: {error}") from None


def _check_names(names: Iterable[str], owner: type, kind: str) -> None:
    known = [field.name for field in fields(owner)]
    if unknown := [name for name in names if name not in known]:
        raise TrainingError(f"there is no {kind} {', '.join(unknown)}; expected one of {', '.join(known)}")


def adapt_to_phantoms(settings: TrainingSettings) -> TrainingSettings:
    """Return classifier settings for a short training on phantoms.

    Images and batches are smaller. A short training needs less regularization: `improved` has less dropout and augments
    the pose only. Its cosine decay needs two more epochs. It trains on all images, because phantoms of all classes are
    equally frequent.
    """
    settings = replace(settings, size=PHANTOM_SIZE, batch_size=PHANTOM_BATCH_SIZE)
    if settings.configuration != "improved":
        return settings
    return replace(
        settings,
        epochs=settings.epochs + 2,
        learning_rate=8e-4,
        dropout=0.1,
        balanced=False,
        augmentation=AUGMENTATIONS["light"],
    )


def autoencoder_settings(
    configuration: str, *, epochs: int | None = None, min_epochs: int = MIN_AUTOENCODER_EPOCHS
) -> TrainingSettings:
    """Return the autoencoder settings of a configuration; all augment images, as the reference study does.

    The reference study does not report the number of epochs. Here the autoencoder trains for half as many epochs as the
    classifier, and for at least `min_epochs`: after fewer epochs, reconstructions are uniformly gray.
    """
    settings = configuration_settings(configuration, epochs=epochs)
    return replace(
        settings,
        epochs=max(min_epochs, settings.epochs // 2),
        batch_size=16,
        learning_rate=2e-3 if settings.cosine else 1e-3,
        optimizer="adam",
        balanced=False,
        weight_decay=0.0,
        label_smoothing=0.0,
        averaging=0.0,
        augmentation=Augmentation(rotation=5, zoom=0.05, shift=0.05, flip=0.5),
        size=128,
        architecture=None,
        weights=None,
        mirror=False,
        frozen_until=None,
    )


def choose_precision() -> str:
    """Return the Keras dtype policy for training on this machine.

    The policy is `mixed_bfloat16` on processors with AMX instructions, and `float32` on all others. With AVX512_BF16
    but without AMX, TensorFlow's bfloat16 convolutions are slower than float32.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "amx_bf16" in flags else "float32"
