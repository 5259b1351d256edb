"""The three nets of the project report, parameter for parameter.

Every net takes gray levels from 0 to 255 and divides them by 255 itself, and gives float32 whatever the
precision it computes in.
"""

import keras
from keras import layers

IMAGE_SIZE = 128
EMBEDDING_LAYER = "embedding"


def build_binary(*, dropout: float = 0.5) -> keras.Model:
    """Return the net of task 1.A, normal or pneumonia: 3,404,674 parameters.

    Input `(n, 128, 128, 1)` in [0, 255]; output `(n, 2)` float32, a sigmoid each for normal and pneumonia.
    The report gives neither the rate of its dropout nor the momentum of its batch normalization; the latter's
    statistics follow within some 30 steps here, so that a net is judged by what it has seen.
    """
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    features = _convolve(inputs, padding="valid")
    features = layers.BatchNormalization(momentum=0.9, name="batch_normalization")(features)
    return keras.Model(inputs, _classify(features, 2, "sigmoid", dropout), name="binary")


def build_three_class(*, dropout: float = 0.5) -> keras.Model:
    """Return the net of task 1.B, normal, bacterial or viral: 4,287,491 parameters.

    Input `(n, 128, 128, 1)` in [0, 255]; output `(n, 3)` float32, a softmax.
    """
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1), name="image")
    features = _convolve(inputs, padding="same")
    return keras.Model(inputs, _classify(features, 3, "softmax", dropout), name="three_class")


def build_autoencoder() -> keras.Model:
    """Return the autoencoder of task 3: 52,067 parameters.

    Input `(n, 128, 128, 3)` in [0, 255]; output `(n, 128, 128, 3)` float32 in [0, 1].
    """
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3), name="image")
    features = layers.Rescaling(1 / 255, name="rescaling")(inputs)
    for number, filters in enumerate((64, 32, 16), start=1):
        features = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"encode_{number}")(features)
        features = layers.MaxPooling2D(name=f"pool_{number}")(features)
    features = layers.Conv2D(16, 3, padding="same", activation="relu", name="code")(features)
    for number, filters in enumerate((32, 64), start=1):
        features = layers.UpSampling2D(name=f"upsample_{number}")(features)
        features = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"decode_{number}")(features)
    features = layers.UpSampling2D(name="upsample_3")(features)
    outputs = layers.Conv2D(3, 3, padding="same", activation="sigmoid", dtype="float32", name="output")(features)
    return keras.Model(inputs, outputs, name="autoencoder")


def _convolve(inputs: keras.KerasTensor, *, padding: str) -> keras.KerasTensor:
    features = layers.Rescaling(1 / 255, name="rescaling")(inputs)
    for number, filters in enumerate((32, 64, 128), start=1):
        features = layers.Conv2D(filters, 3, padding=padding, activation="relu", name=f"conv_{number}")(features)
        features = layers.MaxPooling2D(name=f"pool_{number}")(features)
    return layers.Flatten(name="flatten")(features)


def _classify(features: keras.KerasTensor, num_classes: int, activation: str, dropout: float) -> keras.KerasTensor:
    features = layers.Dense(128, activation="relu", name=EMBEDDING_LAYER)(features)
    features = layers.Dropout(dropout, name="dropout")(features)
    return layers.Dense(num_classes, activation=activation, dtype="float32", name="output")(features)
