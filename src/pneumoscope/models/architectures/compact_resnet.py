"""`compact_resnet`, the shipped classifier: a small residual network, invariant to brightness and contrast.

Sources: residual blocks of K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning" and "Identity Mappings in Deep
Residual Networks" (2016); shortcuts with average pooling of T. He et al., "Bag of Tricks for Image Classification with
Convolutional Neural Networks" (2019).
"""

from collections.abc import Sequence

import keras
from keras import layers

from pneumoscope.models.architectures.reference import EMBEDDING_LAYER
from pneumoscope.models.registry import Activation, register_architecture

# Filters of the two convolutions of the stem, stride 2 each.
STEM = (24, 48)
# Filters, blocks and strides; the last stage keeps its feature map at 8 x 8.
STAGES = ((96, 1, 2), (192, 1, 2), (192, 1, 1))


@register_architecture("compact_resnet")
def build_compact_resnet(
    num_outputs: int = 3,
    size: int = 128,
    channels: int = 1,
    *,
    dropout: float = 0.2,
    activation: Activation = "softmax",
) -> keras.Model:
    """Return `compact_resnet`: 1,325,115 parameters for three classes.

    Input `(n, size, size, channels)` in [0, 255], standardized per image; output `(n, num_outputs)` float32.
    The layer `embedding` is the global average of the last feature map and is followed by one Dense layer, so the
    class-activation map (B. Zhou et al., 2016) is exact.
    """
    inputs = keras.Input((size, size, channels), name="image")
    features = layers.Rescaling(1 / 255, name="rescaling")(inputs)
    features = layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, dtype="float32", name="standardization"
    )(features)
    features = stack_stages(features, STEM, STAGES)
    features = layers.GlobalAveragePooling2D(dtype="float32", name=EMBEDDING_LAYER)(features)
    features = layers.Dropout(dropout, name="dropout")(features)
    outputs = layers.Dense(num_outputs, activation=activation, dtype="float32", name="output")(features)
    return keras.Model(inputs, outputs, name="compact_resnet")


def stack_stages(
    inputs: keras.KerasTensor, stem: tuple[int, int], stages: Sequence[tuple[int, int, int]]
) -> keras.KerasTensor:
    """Return the feature map of a stem of two strided convolutions, followed by residual stages.

    Args:
        inputs: `(n, H, W, channels)`.
        stem: filters of the two convolutions; the last layer of the stem is `stem_2_relu`.
        stages: `(filters, blocks, strides)` per stage; block `b` of stage `s` is named `stage_s_b`.
    """
    features = inputs
    for number, filters in enumerate(stem, start=1):
        features = _convolve(features, filters, strides=2, name=f"stem_{number}")
    for stage, (filters, blocks, strides) in enumerate(stages, start=1):
        for block in range(1, blocks + 1):
            name = f"stage_{stage}_{block}"
            features = _add_block(features, filters, strides if block == 1 else 1, name=name)
    return features


def _add_block(inputs: keras.KerasTensor, filters: int, strides: int, *, name: str) -> keras.KerasTensor:
    short = inputs
    if strides > 1:
        short = layers.AveragePooling2D(strides, name=f"{name}_pool")(short)
    if short.shape[-1] != filters:
        short = _convolve(short, filters, size=1, activate=False, name=f"{name}_short")
    features = _convolve(inputs, filters, strides=strides, name=f"{name}_a")
    features = _convolve(features, filters, activate=False, name=f"{name}_b")
    features = layers.Add(name=f"{name}_add")([short, features])
    return layers.ReLU(name=name)(features)


def _convolve(
    inputs: keras.KerasTensor, filters: int, *, size: int = 3, strides: int = 1, activate: bool = True, name: str
) -> keras.KerasTensor:
    features = layers.Conv2D(filters, size, strides, padding="same", use_bias=False, name=name)(inputs)
    features = layers.BatchNormalization(momentum=0.97, name=f"{name}_normalization")(features)
    return layers.ReLU(name=f"{name}_relu")(features) if activate else features
