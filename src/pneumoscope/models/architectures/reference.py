"""The three architectures of the reference study, with equal numbers of parameters.

Inputs are gray levels in [0, 255], rescaled inside the model. Outputs are float32 under any dtype policy.
"""

import keras
from keras import layers

from pneumoscope.models.registry import Activation, register_architecture

EMBEDDING_LAYER = "embedding"


@register_architecture("reference-binary")
def build_binary(
    num_outputs: int = 2,
    size: int = 128,
    channels: int = 1,
    *,
    dropout: float = 0.5,
    activation: Activation = "sigmoid",
) -> keras.Model:
    """Return the classifier of task 1.A, two classes: 3,404,674 parameters.

    Input `(n, size, size, channels)` in [0, 255]; output `(n, num_outputs)` float32, one sigmoid per class. The
    reference study does not state the dropout rate or the batch normalization momentum. The momentum here averages
    about 30 steps.
    """
    inputs = keras.Input((size, size, channels), name="image")
    features = _convolve(inputs, padding="valid")
    features = layers.BatchNormalization(momentum=0.9, name="batch_normalization")(features)
    return keras.Model(inputs, _classify(features, num_outputs, activation, dropout), name="reference-binary")


@register_architecture("reference-multiclass")
def build_multiclass(
    num_outputs: int = 3,
    size: int = 128,
    channels: int = 1,
    *,
    dropout: float = 0.5,
    activation: Activation = "softmax",
) -> keras.Model:
    """Return the classifier of task 1.B, three or more classes: 4,287,491 parameters for three.

    Input `(n, size, size, channels)` in [0, 255]; output `(n, num_outputs)` float32, softmax.
    """
    inputs = keras.Input((size, size, channels), name="image")
    features = _convolve(inputs, padding="same")
    outputs = _classify(features, num_outputs, activation, dropout)
    return keras.Model(inputs, outputs, name="reference-multiclass")


@register_architecture("reference-autoencoder")
def build_autoencoder(num_outputs: int = 3, size: int = 128, channels: int = 3) -> keras.Model:
    """Return the autoencoder of task 3: 52,067 parameters.

    Input `(n, size, size, channels)` in [0, 255]; output `(n, size, size, num_outputs)` float32 in [0, 1].
    """
    inputs = keras.Input((size, size, channels), name="image")
    features = layers.Rescaling(1 / 255, name="rescaling")(inputs)
    for number, filters in enumerate((64, 32, 16), start=1):
        features = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"encode_{number}")(features)
        features = layers.MaxPooling2D(name=f"pool_{number}")(features)
    features = layers.Conv2D(16, 3, padding="same", activation="relu", name="code")(features)
    for number, filters in enumerate((32, 64), start=1):
        features = layers.UpSampling2D(name=f"upsample_{number}")(features)
        features = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"decode_{number}")(features)
    features = layers.UpSampling2D(name="upsample_3")(features)
    outputs = layers.Conv2D(num_outputs, 3, padding="same", activation="sigmoid", dtype="float32", name="output")(
        features
    )
    return keras.Model(inputs, outputs, name="reference-autoencoder")


def _convolve(inputs: keras.KerasTensor, *, padding: str) -> keras.KerasTensor:
    features = layers.Rescaling(1 / 255, name="rescaling")(inputs)
    for number, filters in enumerate((32, 64, 128), start=1):
        features = layers.Conv2D(filters, 3, padding=padding, activation="relu", name=f"conv_{number}")(features)
        features = layers.MaxPooling2D(name=f"pool_{number}")(features)
    return layers.Flatten(name="flatten")(features)


def _classify(
    features: keras.KerasTensor, num_classes: int, activation: Activation, dropout: float
) -> keras.KerasTensor:
    features = layers.Dense(128, activation="relu", name=EMBEDDING_LAYER)(features)
    features = layers.Dropout(dropout, name="dropout")(features)
    return layers.Dense(num_classes, activation=activation, dtype="float32", name="output")(features)
