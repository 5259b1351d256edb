"""Scores of a classifier and their gradients at a layer and at the pixels, shared by all explanation methods."""

from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.explain.layers import list_heatmap_layers
from pneumoscope.labels import LabelSet
from pneumoscope.models.gradients import Gradient, compile_gradient
from pneumoscope.models.linear import copy_linear, find_layer
from pneumoscope.models.receptive_field import Field, receptive_fields, upsample

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 32

# A method takes a scorer, `(n, H, W)` uint8 images, `(n, outputs)` weights (`Scorer.choose`) and `seed=`; it returns
# heatmaps.
Method = Callable[..., np.ndarray]


class Scorer:
    """Scores of a classifier and their gradients at one layer and at the pixels.

    Scores are logits: outputs before the last sigmoid or softmax (see `pneumoscope.models.linear`). Functions are
    compiled on first use and cached.

    Attributes:
        model: the classifier; it is not modified.
        flat: flattened copy with logits as outputs.
        layer: name of the layer for class-activation maps, in `flat`.
        fields: receptive fields of the layer along rows and columns.
    """

    def __init__(self, model: "keras.Model", layer: str | None = None) -> None:
        """Prepare a classifier.

        Args:
            model: built Keras functional classifier of `(n, H, W, 1)` images with values 0 to 255; it may contain
                nested models.
            layer: layer name, or its path in nested models, `inner/layer`; by default the last convolutional layer
                (`pneumoscope.explain.layers.list_heatmap_layers`).

        Raises:
            ValueError: if the layer does not exist or has no feature map, or the model cannot be copied.
        """
        self.model = model
        self.flat = copy_linear(model)
        self.layer = find_layer(self.flat, layer or list_heatmap_layers(self.flat)[-1])
        self.fields: tuple[Field, Field] = receptive_fields(self.flat, self.layer)

    @cached_property
    def _opened(self) -> "keras.Model":
        return copy_linear(self.model, opened=(self.layer,))

    @cached_property
    def _at_layer(self) -> Any:
        return compile_gradient(self._opened, [1])

    @cached_property
    def _at_pixels(self) -> Any:
        return compile_gradient(self.flat, [0])

    @cached_property
    def _guided(self) -> Any:
        return compile_gradient(copy_linear(self.model, rectify=rectify_guided()), [0])

    def choose(self, class_indices: ArrayLike | None, images: np.ndarray) -> np.ndarray:
        """Return the weights of the outputs whose sum is explained; by default the predicted classes are.

        Returns:
            `(n, outputs)` float32, one-hot. With one output, which is the logit of class 1: 1, and -1 for class 0.

        Raises:
            ValueError: if `images` are not `(n, H, W)` uint8 of the model's input size, `class_indices` has another
                length, or an index is out of range.
        """
        expected = tuple(self.model.inputs[0].shape[1:])
        if images.dtype != np.uint8 or (*images.shape[1:], 1) != expected:
            raise ValueError(
                f"images are {images.shape} {images.dtype}, expected (n, {expected[0]}, {expected[1]}) uint8, "
                f"the input size of the model"
            )
        num_outputs = int(self.flat.outputs[0].shape[-1])
        num_classes = max(2, num_outputs)
        if class_indices is None:
            scores = self.score(images.astype(np.float32)) if len(images) else np.empty((0, num_outputs))
            class_indices = scores.argmax(axis=1) if num_outputs > 1 else (scores[:, 0] > 0).astype(int)
        indices = np.asarray(class_indices)
        if indices.shape != (len(images),) or not np.isin(indices, np.arange(num_classes)).all():
            raise ValueError(
                f"class_indices are {indices.shape} with values {np.unique(indices)}, "
                f"expected ({len(images)},) with values 0 to {num_classes - 1}"
            )
        if num_outputs == 1:
            return np.asarray(2 * indices[:, None] - 1, dtype=np.float32)
        return np.asarray(np.eye(num_classes, dtype=np.float32)[indices.astype(int)])

    def score(self, pixels: np.ndarray, *, change: np.ndarray | None = None) -> np.ndarray:
        """Return the logits, `(n, outputs)` float32.

        Args:
            pixels: `(n, H, W)` float32 in [0, 255].
            change: `(n, h, w, filters)` float32, added to the features of the layer.
        """
        if change is None:
            return np.asarray(self.flat.predict(pixels[..., None], batch_size=BATCH_SIZE, verbose=0))
        return np.asarray(self._opened.predict([pixels[..., None], change], batch_size=BATCH_SIZE, verbose=0)[0])

    def differentiate_layer(self, images: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of the layer and the score gradients at the layer, `(n, h, w, filters)` float32 each.

        Args:
            images: `(n, H, W)`, values 0 to 255.
            chosen: `(n, outputs)` float32, from `choose`.
        """
        batches = differentiate_batches(self._at_layer, images, chosen, self._opened)
        features, gradients = zip(*((outputs[1], gradient) for outputs, (gradient,) in batches), strict=True)
        return np.concatenate(features), np.concatenate(gradients)

    def differentiate_pixels(self, images: np.ndarray, chosen: np.ndarray, *, guided: bool = False) -> np.ndarray:
        """Return the score gradients at the pixels, per gray level, `(n, H, W)` float32.

        Args:
            images: `(n, H, W)`, values 0 to 255.
            chosen: `(n, outputs)` float32, from `choose`.
            guided: whether ReLU layers block negative gradients (guided backpropagation).
        """
        differentiate = self._guided if guided else self._at_pixels
        batches = differentiate_batches(differentiate, images, chosen, self.flat)
        return np.concatenate([gradient[..., 0] for _, (gradient,) in batches])

    def upsample(self, maps: np.ndarray) -> np.ndarray:
        """Upsample maps of the layer, `(n, h, w)`, to `(n, H, W)` float32 in [0, 1]; negative values are set to 0.

        A position is placed at the center of its receptive field. A map decays to 0 outside the outermost positions.
        """
        return upsample(np.maximum(maps, 0).astype(np.float32), *self.fields, self.model.inputs[0].shape[1:3])


def list_layers(model: "keras.Model") -> tuple[str, ...]:
    """Return `list_heatmap_layers` of a model; a layer of a nested model is named by its path, joined by dots."""
    return list_heatmap_layers(copy_linear(model))


def choose_finding(probabilities: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Return `(n,)` int, the most probable class of `(n, classes)` probabilities without the negative one."""
    others = np.array([name != label_set.negative for name in label_set.classes])
    return np.asarray(np.where(others, probabilities, -1).argmax(axis=1))


def choose_class(probabilities: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Return `(n,)` int: the negative class if its probability is 0.5 or more, else `choose_finding`."""
    finding = choose_finding(probabilities, label_set)
    if label_set.negative not in label_set.classes:
        return finding
    negative = label_set.classes.index(label_set.negative)
    return np.where(probabilities[:, negative] >= 0.5, negative, finding)


def score_findings(probabilities: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Return `(n,)` floats, the probability of any class but the negative one; multi-label: of the likeliest finding.

    Raises:
        LabelError: if the set is single-label and has no negative class.
    """
    return np.asarray(probabilities.max(axis=1)) if label_set.multi_label else label_set.score_positive(probabilities)


@cache
def rectify_guided() -> Any:
    """Return a ReLU with the gradient of guided backpropagation, see `gradients.guided_backprop`."""
    from keras import ops

    def rectify(values: Any) -> Any:
        def grad(*args: Any, upstream: Any = None) -> Any:
            if upstream is None:
                (upstream,) = args
            return ops.relu(upstream) * ops.cast(values > 0, upstream.dtype)

        return ops.relu(values), grad

    return ops.custom_gradient(rectify)


def differentiate_batches(
    differentiate: Gradient, images: np.ndarray, chosen: np.ndarray, model: "keras.Model"
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Yield outputs and gradients of batches of `(n, H, W)` images; further inputs of the model are zeros.

    Args:
        differentiate: from `compile_gradient` of the model.
        images: `(n, H, W)`, values 0 to 255.
        chosen: `(n, outputs)` float32, from `Scorer.choose`.
        model: the model.
    """
    from keras import ops

    for start in range(0, len(images), BATCH_SIZE):
        pixels = images[start : start + BATCH_SIZE, ..., None].astype(np.float32)
        changes = [np.zeros((len(pixels), *tensor.shape[1:]), np.float32) for tensor in model.inputs[1:]]
        results = differentiate([pixels, *changes], chosen[start : start + BATCH_SIZE])
        outputs, gradients = ([np.asarray(ops.convert_to_numpy(part)) for part in parts] for parts in results)
        yield outputs, gradients
