"""The history of a training: `history.csv`, and TensorBoard on request."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pneumoscope.errors import TrainingError
from pneumoscope.io.write import atomic_write

CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")
# The learning rate is that after the last step of the epoch.
HISTORY = (*CURVES, "learning_rate", "seconds")
HISTORY_NAME = "history.csv"


def write_history(path: Path, history: Mapping[str, Sequence[float]]) -> None:
    """Write one row per epoch, with the columns of `HISTORY`."""
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["epoch", *HISTORY])
        rows = zip(*(history[name] for name in HISTORY), strict=True)
        writer.writerows([number, *(f"{value:.6g}" for value in row)] for number, row in enumerate(rows, start=1))


def open_tensorboard(folder: Path | None) -> Callable[[Mapping[str, float], int], None]:
    """Return a function of scalars by name and of an epoch that writes them for TensorBoard; nothing without a folder.

    Raises:
        TrainingError: if the backend of Keras is not TensorFlow.
    """
    if folder is None:
        return lambda scalars, epoch: None
    import keras

    if keras.backend.backend() != "tensorflow":
        raise TrainingError(f"the backend of Keras is {keras.backend.backend()}; expected tensorflow for TensorBoard")
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder))
    # As tf.summary.scalar writes them, which needs TensorBoard itself to be installed.
    metadata = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_SCALAR")
    metadata.plugin_data.plugin_name = "scalars"

    def write(scalars: Mapping[str, float], epoch: int) -> None:
        with writer.as_default():
            for name, value in scalars.items():
                tf.summary.write(name, tf.constant(value, tf.float32), step=epoch, metadata=metadata)
        writer.flush()

    return write
