"""Training on several devices of one machine, with JAX: each device takes a share of every training batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from pneumoscope.errors import TrainingError


class _SharedBatches(keras.distribution.DataParallel):
    """Data parallelism in training steps only.

    Keras cannot divide batches whose size is no multiple of the number of devices. Here each device computes the whole
    of such a batch, and of all batches outside of training. Losses are then those of one device, without padding.
    """

    sharing = False

    def get_data_layout(self, data_shape: tuple[int, ...]) -> keras.distribution.TensorLayout:
        if self.sharing and data_shape[0] % self.num_model_replicas == 0:
            return super().get_data_layout(data_shape)
        return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


def use_devices(count: int) -> None:
    """Train models that are built from now on with the first `count` devices.

    Raises:
        TrainingError: if the backend of Keras is not JAX, or if there are fewer devices.
    """
    backend = keras.backend.backend()
    if backend != "jax":
        raise TrainingError(
            f"{count} devices are asked for, and the backend of Keras is {backend}; training on several devices needs "
            "JAX: install jax and set KERAS_BACKEND=jax"
        )
    devices = keras.distribution.list_devices()
    if count > len(devices):
        raise TrainingError(
            f"{count} devices are asked for, and JAX has {len(devices)}: {', '.join(devices)}; give at most that many"
        )
    keras.distribution.set_distribution(_SharedBatches(devices=devices[:count]))


@contextmanager
def share_batches() -> Iterator[None]:
    """Share the batches of training steps among the devices of `use_devices`, if any."""
    distribution = keras.distribution.distribution()
    if isinstance(distribution, _SharedBatches):
        distribution.sharing = True
    try:
        yield
    finally:
        if isinstance(distribution, _SharedBatches):
            distribution.sharing = False
