"""The optimizer of a training."""

from typing import Any

import keras

from pneumoscope.models.settings import TrainingSettings

NOT_DECAYED = ("bias", "gamma", "beta")


def build_optimizer(model: keras.Model, settings: TrainingSettings, num_steps: int) -> keras.optimizers.Optimizer:
    """Return an optimizer for the trainable weights, with a learning rate schedule of `num_steps` steps."""
    rate: Any = settings.learning_rate
    if settings.cosine:
        warmup = max(1, round(settings.warmup * num_steps))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, num_steps - warmup), warmup_target=settings.learning_rate, warmup_steps=warmup
        )
    clip = settings.max_gradient
    decay = 0.0 if settings.optimizer == "adam" else settings.weight_decay
    optimizer: keras.optimizers.Optimizer
    if settings.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, weight_decay=decay or None, clipnorm=clip)
    elif decay:
        optimizer = keras.optimizers.AdamW(rate, weight_decay=decay, clipnorm=clip)
    else:
        return keras.optimizers.Adam(rate, clipnorm=clip)
    if decay:
        optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return optimizer
