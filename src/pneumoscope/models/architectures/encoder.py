"""A small encoder from images to features, for anomaly detection."""

import keras
from keras import layers

from pneumoscope.models.architectures.compact_resnet import stack_stages
from pneumoscope.models.architectures.reference import EMBEDDING_LAYER
from pneumoscope.models.registry import register_architecture

# See `stack_stages`.
STEM = (16, 32)
STAGES = ((32, 1, 1), (64, 1, 2), (128, 1, 2))


@register_architecture("encoder")
def build_encoder(num_outputs: int | None = None, size: int = 128, channels: int = 1) -> keras.Model:
    """Return an encoder for anomaly detection.

    Input `(n, size, size, channels)` in [0, 255]; output `(n, num_outputs)` float32, the global average of the last
    feature map. `num_outputs` defaults to the number of filters of the last stage.
    """
    inputs = keras.Input((size, size, channels), name="image")
    *earlier, (filters, blocks, strides) = STAGES
    features = stack_stages(standardize_images(inputs), STEM, (*earlier, (num_outputs or filters, blocks, strides)))
    outputs = layers.GlobalAveragePooling2D(dtype="float32", name=EMBEDDING_LAYER)(features)
    return keras.Model(inputs, outputs, name="encoder")


def standardize_images(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Standardize each image `(n, H, W, 1)` to mean 0 and standard deviation 1, so that exposure has no effect."""
    scaled = layers.Rescaling(1 / 255, dtype="float32", name="rescaling")(inputs)
    return layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, dtype="float32", name="standardization"
    )(scaled)
