"""A classifier with known weights, and images of blobs that it detects."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
from keras import layers

SIZE = 32


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Compute in float32, whatever precision earlier tests trained in."""
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def blob_model() -> keras.Model:
    """Return a model that predicts pneumonia from bright 5 x 5 blobs anywhere; its second filter is no evidence."""
    keras.config.set_dtype_policy("float32")
    inputs = keras.Input((SIZE, SIZE, 1), name="image")
    features = layers.Rescaling(1 / 255)(inputs)
    features = layers.Conv2D(2, 5, padding="same", activation="relu", name="conv_1")(features)
    features = layers.AveragePooling2D(2, name="pool_1")(features)
    features = layers.Conv2D(2, 1, activation="relu", name="conv_2")(features)
    features = layers.GlobalAveragePooling2D(name="mean")(features)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", name="output")(features), name="blobs")
    blob = np.stack([np.ones((5, 5)), -np.ones((5, 5))], axis=-1)[:, :, None]
    model.get_layer("conv_1").set_weights([blob, np.array([-12.0, 4.2])])
    model.get_layer("conv_2").set_weights([np.eye(2)[None, None], np.zeros(2)])
    model.get_layer("output").set_weights([np.array([[-4.0, 4.0], [0.5, -0.5]]), np.array([0.1, -0.1])])
    return model


@pytest.fixture(scope="session")
def draw_blobs() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Return a function of a count and a seed that returns dim noise with one bright square each, and its mask."""

    def draw(count: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        images, masks = rng.integers(20, 60, (count, SIZE, SIZE), dtype=np.uint8), np.zeros((count, SIZE, SIZE), bool)
        for mask, (row, column) in zip(masks, rng.integers(3, SIZE - 10, (count, 2)), strict=True):
            mask[row : row + 7, column : column + 7] = True
        images[masks] = 230
        return images, masks

    return draw
