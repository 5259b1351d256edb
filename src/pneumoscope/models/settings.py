"""Training settings, as one frozen value that is saved beside the weights."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

Configuration = Literal["reference", "improved", "default", "transfer"]
# Those of a study; `transfer` also needs the name of a backbone.
STUDY_CONFIGURATIONS: tuple[Configuration, ...] = ("reference", "improved")
MIN_AUTOENCODER_EPOCHS = 8
PHANTOM_SIZE = 96
PHANTOM_BATCH_SIZE = 16


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the uniform random changes of a training image; 0 switches one off.

    Attributes:
        rotation: degrees to either side.
        zoom: share of the size, larger or smaller, of each side independently.
        aspect: natural logarithm of the factor by which one side grows and the other shrinks, to either side.
        shift: share of the size, along each axis.
        flip: probability of a left-right mirror.
        gamma: natural logarithm of the exponent of an exposure change, to either side.
        contrast: share, to either side.
        brightness: share of the full range, to either side.
        local_contrast: probability of an equalized histogram by tiles, its contrast limited (CLAHE).
        blur: largest standard deviation in pixels of a blur; half of the images are blurred or, by the same measure,
            sharpened.
        noise: largest standard deviation of noise, share of the full range; half of the images get some.
        erase: largest side of a gray rectangle laid over the image, share of the size.
        frame: widest strip along each side that is hidden behind one gray level, share of the size; half of the images
            get a frame.
    """

    rotation: float = 0.0
    zoom: float = 0.0
    aspect: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    gamma: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    local_contrast: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    erase: float = 0.0
    frame: float = 0.0


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one training.

    Attributes:
        configuration: one of `configuration_settings`, or `normality` for the normality model.
        epochs: passes; with `balanced`, a pass draws as many images of every class as the rarest has.
        learning_rate: of Adam; the peak where `cosine`.
        cosine: rise for `warmup`, a share of all steps, then fall along a cosine to zero; else constant.
        weight_decay: decoupled, per step and unit of learning rate (AdamW).
        label_smoothing: share of the target that is spread over the classes.
        balanced: draw classes equally often, and weight them equally in validation.
        averaging: weight of the past in an exponential average of the weights after each epoch; 0 is none, and better
            where every layer is normalized by batch: means of moving statistics do not fit means of weights.
        keep_best: keep the epoch with the lowest validation loss instead of the last.
        mixup: both parameters of the beta distribution by which two images and their targets are mixed; 0 is none.
        size: side in pixels of the input images.
        backbone: one of `models.architectures.pretrained`; None is the configuration's own architecture.
        weights: what the backbone starts from, a file or `imagenet`; None is random weights.
        head_epochs: the first epochs, which train the last layer only; the whole network follows with a new optimizer
            and learning rate schedule.
        layer_decay: factor of the learning rate and of the weight decay from one fifth of the layers to the one
            before it; the last layer learns at the full rate. 1 is none.
    """

    configuration: str = "reference"
    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 1e-3
    cosine: bool = False
    warmup: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    dropout: float = 0.5
    balanced: bool = False
    averaging: float = 0.0
    keep_best: bool = False
    mixup: float = 0.0
    augmentation: Augmentation = Augmentation()
    size: int = 128
    backbone: str | None = None
    weights: str | None = None
    head_epochs: int = 0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs {self.epochs} and batch_size {self.batch_size} are expected to be 1 or more")
        if self.head_epochs < 0 or not 0 < self.layer_decay <= 1:
            raise ValueError(
                f"head_epochs {self.head_epochs} is expected to be 0 or more, layer_decay {self.layer_decay} to be "
                "above 0 and at most 1"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values; see `without_paths`."""
        return asdict(self.without_paths())

    def without_paths(self) -> "TrainingSettings":
        """Return the settings with the name of the weights file in place of its path."""
        return self if self.weights is None else replace(self, weights=Path(self.weights).name)


_EXPOSURE_AUGMENTATION = Augmentation(
    rotation=10,
    zoom=0.12,
    aspect=0.08,
    shift=0.08,
    gamma=0.4,
    contrast=0.25,
    brightness=0.1,
    local_contrast=0.1,
    blur=0.8,
    noise=0.02,
    erase=0.3,
)

_CONFIGURATIONS: dict[str, TrainingSettings] = {
    "reference": TrainingSettings(),
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
        augmentation=Augmentation(
            rotation=10, zoom=0.12, shift=0.08, gamma=0.35, contrast=0.2, brightness=0.1, erase=0.3
        ),
    ),
    "default": TrainingSettings(
        configuration="default",
        epochs=20,
        batch_size=32,
        learning_rate=1.5e-3,
        cosine=True,
        warmup=0.05,
        weight_decay=0.02,
        label_smoothing=0.1,
        dropout=0.2,
        balanced=True,
        augmentation=_EXPOSURE_AUGMENTATION,
    ),
    "transfer": TrainingSettings(
        configuration="transfer",
        epochs=10,
        cosine=True,
        warmup=0.05,
        weight_decay=0.02,
        label_smoothing=0.1,
        dropout=0.3,
        balanced=True,
        augmentation=_EXPOSURE_AUGMENTATION,
        size=160,
        head_epochs=2,
        layer_decay=0.6,
    ),
}


def configuration_settings(configuration: str, *, epochs: int | None = None) -> TrainingSettings:
    """Return the classifier's settings of a configuration.

    Args:
        configuration: `reference`, the settings of the reference study as far as its text gives them; `improved`, the
            architectures with improved settings; `default`, the shipped architecture; or `transfer`, a pretrained
            backbone.
        epochs: instead of the configuration's own, 40, 20 or 10; at least one is left to the whole network.

    Raises:
        ValueError: if there is no such configuration.
    """
    if configuration not in _CONFIGURATIONS:
        raise ValueError(f"configuration is {configuration!r}, expected one of {', '.join(_CONFIGURATIONS)}")
    settings = _CONFIGURATIONS[configuration]
    if epochs is None:
        return settings
    return replace(
        settings,
        epochs=epochs,
        head_epochs=min(settings.head_epochs, epochs - 1),
        # The average covers the same share of a run of any length.
        averaging=settings.averaging ** (settings.epochs / epochs),
    )


def adapt_to_phantoms(settings: TrainingSettings) -> TrainingSettings:
    """Return the classifier's settings for a short training on phantoms.

    Images and batches are smaller. A few epochs are too short for the regularization of `improved`, and the subtypes of
    phantoms are equally frequent: `improved` trains with less dropout, with changes of pose only, and on all images.
    """
    settings = replace(settings, size=PHANTOM_SIZE, batch_size=PHANTOM_BATCH_SIZE)
    if settings.configuration != "improved":
        return settings
    augmentation = Augmentation(rotation=5, zoom=0.05, shift=0.05)
    return replace(settings, learning_rate=8e-4, dropout=0.1, balanced=False, augmentation=augmentation)


def autoencoder_settings(
    configuration: str, *, epochs: int | None = None, min_epochs: int = MIN_AUTOENCODER_EPOCHS
) -> TrainingSettings:
    """Return the autoencoder's settings of a configuration; both augment, as the reference study does.

    The reference study does not give the number of epochs. Here it is half of the classifier's and at least
    `min_epochs`, because the reconstructions of a shorter training stay gray.
    """
    settings = configuration_settings(configuration, epochs=epochs)
    return replace(
        settings,
        epochs=max(min_epochs, settings.epochs // 2),
        batch_size=16,
        learning_rate=2e-3 if settings.cosine else 1e-3,
        balanced=False,
        weight_decay=0.0,
        label_smoothing=0.0,
        averaging=0.0,
        mixup=0.0,
        augmentation=Augmentation(rotation=5, zoom=0.05, shift=0.05, flip=0.5),
        size=128,
        head_epochs=0,
        layer_decay=1.0,
    )


def choose_precision() -> str:
    """Return the Keras dtype policy to train in on this machine.

    `mixed_bfloat16` where the processor multiplies bfloat16 matrices in hardware (AMX), else `float32`: with
    the vector instructions AVX512_BF16 alone, TensorFlow's bfloat16 convolutions are slower than float32.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "amx_bf16" in flags else "float32"
