"""Optimizer with layer-wise learning rates."""

from typing import Any

import keras
from keras import ops

from pneumoscope.models.settings import TrainingSettings

NUM_DEPTHS = 5
NOT_DECAYED = ("bias", "gamma", "beta")


def build_optimizer(model: keras.Model, settings: TrainingSettings, num_steps: int) -> keras.optimizers.Optimizer:
    """Return an optimizer for the trainable weights, with a learning rate schedule of `num_steps` steps."""
    rate: Any = settings.learning_rate
    if settings.cosine:
        warmup = max(1, round(settings.warmup * num_steps))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, num_steps - warmup), warmup_target=settings.learning_rate, warmup_steps=warmup
        )
    decay = 0.0 if settings.optimizer == "adam" else settings.weight_decay
    if settings.layer_decay < 1:
        shares = list_rate_factors(model, settings.layer_decay)
        names = [variable.name for variable in model.trainable_variables]
        return LayerwiseAdam(rate, shares=shares, decays=[0.0 if name in NOT_DECAYED else decay for name in names])
    optimizer: keras.optimizers.Optimizer
    if settings.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=decay or None)
    elif decay:
        optimizer = keras.optimizers.AdamW(rate, weight_decay=decay)
    else:
        return keras.optimizers.Adam(rate)
    if decay:
        optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer


def list_rate_factors(model: keras.Model, decay: float) -> list[float]:
    """Return the learning rate factor of each trainable weight, in the order of `model.trainable_weights`.

    The factor of the last layer is 1. The other layers are divided into fifths by depth; from the last fifth to the
    first, the factor is multiplied by `decay`. Source: discriminative fine-tuning, J. Howard and S. Ruder, "Universal
    Language Model Fine-tuning for Text Classification", 2018, section 3.2, with groups of layers instead of layers.

    Args:
        model: built model with layers in order of depth.
        decay: factor between adjacent groups, in (0, 1].
    """
    learning = [layer for layer in model.layers if layer.trainable_variables]
    before = max(1, len(learning) - 1)
    shares = {
        id(variable): decay ** (NUM_DEPTHS - place * NUM_DEPTHS // before)
        for place, layer in enumerate(learning)
        for variable in layer.trainable_variables
    }
    shares |= {id(variable): 1.0 for variable in learning[-1].trainable_variables}
    return [shares[id(variable)] for variable in model.trainable_variables]


class LayerwiseAdam(keras.optimizers.Adam):
    """Adam with decoupled weight decay and a learning rate factor per weight.

    The factor applies to the learning rate, because Adam normalizes factors of the gradient away.
    """

    def __init__(self, learning_rate: Any, *, shares: list[float], decays: list[float]) -> None:
        super().__init__(learning_rate)
        self.shares = shares
        self.decays = decays

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one weight."""
        place = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype) * self.shares[place]
        if self.decays[place]:
            self.assign_sub(variable, variable * (rate * self.decays[place]))
        super().update_step(gradient, variable, rate)
