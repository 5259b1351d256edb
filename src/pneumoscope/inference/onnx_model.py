"""Classifiers of any tool as ONNX files, without a card."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.image import check_images
from pneumoscope.errors import ModelError
from pneumoscope.inference.model_set import BATCH_SIZE, Graph
from pneumoscope.labels import LabelSet
from pneumoscope.models.keras_file import PREPROCESSING
from pneumoscope.models.prediction import read_probabilities


@dataclass(frozen=True)
class OnnxModel:
    """A classifier in an ONNX file, from `open_onnx`.

    Attributes:
        label_set: the classes, in the order of the outputs.
        size: side of the square input images, in pixels.
    """

    label_set: LabelSet
    size: int
    _graph: Graph
    _preprocess: str
    _input: str
    _output: str
    _channels_first: bool
    _num_channels: int

    @property
    def path(self) -> Path:
        """The file."""
        return self._graph.path

    def predict_images(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the probability of each class.

        Args:
            images: `(n, size, size)` uint8, 0 = black.

        Returns:
            `(n, classes)` float64. Rows of a single-label set are divided by their sum; one output is the probability
            of the second of two classes.

        Raises:
            ModelError: if the outputs are no probabilities, or not one per class.
        """
        check_images(images, size=self.size)
        factor, offset = (np.asarray(value, np.float32) for value in PREPROCESSING[self._preprocess])
        inputs = images[..., None].astype(np.float32).repeat(self._num_channels, axis=-1) * factor + offset
        if self._channels_first:
            inputs = inputs.transpose(0, 3, 1, 2)
        (outputs,) = self._graph.run({self._input: np.ascontiguousarray(inputs)}, [self._output])
        return read_probabilities(outputs, self.label_set)


def open_onnx(path: Path, label_set: LabelSet, *, preprocess: str | None = None, size: int | None = None) -> OnnxModel:
    """Open a classifier in an ONNX file.

    Args:
        path: file with one input `(n, H, W, channels)` or `(n, channels, H, W)` float32, of one or three channels. The
            output is the one named `probabilities`, or the first.
        label_set: classes in the order of the outputs.
        preprocess: what the model expects of gray levels from 0 to 255, one of `PREPROCESSING`. A model exported by
            this package needs none.
        size: side of the images in pixels; only needed if the model takes any.

    Raises:
        ModelError: if the file cannot be loaded, or the input is something else.
    """
    graph = Graph(path)
    inputs, names = graph.session.get_inputs(), [output.name for output in graph.session.get_outputs()]
    if preprocess is None and [one.name for one in inputs] == ["image"] and "probabilities" in names:
        preprocess = "none"
    if preprocess not in PREPROCESSING:
        raise ModelError(
            f"preprocess is {preprocess!r}: name what {path} expects of gray levels from 0 to 255, with --preprocess "
            f"{'|'.join(PREPROCESSING)}"
        )
    shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
    first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)
    batch, height, width, channels = [shape[0], *shape[2:], shape[1]] if first else (shape + [None] * 4)[:4]
    side = height or size
    per_channel = isinstance(PREPROCESSING[preprocess][0], list)
    if len(inputs) != 1 or len(shape) != 4 or channels not in ((3,) if per_channel else (1, 3)):
        shapes = ", ".join(f"{one.name} {one.shape}" for one in inputs)
        raise ModelError(
            f"{path} takes {shapes}; expected one input (n, H, W, channels) or (n, channels, H, W) of "
            f"{'three channels, for ' + preprocess if per_channel else 'one or three channels'}"
        )
    if side is None or {width or side, size or side} != {side}:
        raise ModelError(f"{path} takes images of {height} x {width}; expected squares, of a size named with --size")
    output = "probabilities" if "probabilities" in names else names[0]
    graph = Graph(path, batch_size=batch or BATCH_SIZE)
    return OnnxModel(label_set, side, graph, preprocess, inputs[0].name, output, first, int(channels or 1))
