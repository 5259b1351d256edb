"""The optimizer of a training, with a learning rate for each layer."""

from typing import Any

import keras
from keras import ops

from pneumoscope.models.settings import TrainingSettings

NUM_DEPTHS = 5
NOT_DECAYED = ("bias", "gamma", "beta")


def build_optimizer(model: keras.Model, settings: TrainingSettings, num_steps: int) -> keras.optimizers.Optimizer:
    """Return an optimizer for the weights that are trainable now, with a learning rate schedule of `num_steps`."""
    rate: Any = settings.learning_rate
    if settings.cosine:
        warmup = max(1, round(settings.warmup * num_steps))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, num_steps - warmup), warmup_target=settings.learning_rate, warmup_steps=warmup
        )
    if settings.layer_decay < 1:
        shares = share_rate(model, settings.layer_decay)
        names = [variable.name for variable in model.trainable_variables]
        decays = [0.0 if name in NOT_DECAYED else settings.weight_decay for name in names]
        return LayerwiseAdam(rate, shares=shares, decays=decays)
    if not settings.weight_decay:
        return keras.optimizers.Adam(rate)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer


def share_rate(model: keras.Model, decay: float) -> list[float]:
    """Return the share of the learning rate that each trainable weight gets, in the order of the model's.

    The last layer gets all of it. The layers before it are divided into fifths by depth; each fifth gets `decay` times
    the share of the next one. Source: J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text
    Classification", 2018, section 3.2, with groups of layers in place of layers.

    Args:
        model: built; its layers stand in the order of their depth.
        decay: above 0, at most 1.
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
    """Adam with decoupled weight decay, at a share of the learning rate for each weight.

    A share of the rate, unlike a share of the gradient, is not undone by Adam's own scaling.
    """

    def __init__(self, learning_rate: Any, *, shares: list[float], decays: list[float]) -> None:
        super().__init__(learning_rate)
        self.shares = shares
        self.decays = decays

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one weight."""
        place = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype) * self.shares[place]
        if self.decays[place]:
            self.assign_sub(variable, variable * (rate * self.decays[place]))
        super().update_step(gradient, variable, rate)
