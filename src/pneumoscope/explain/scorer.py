"""The scores of a classifier, and their gradients at a layer and at the pixels, for all explanation methods."""

from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.models.gradients import compile_gradient
from pneumoscope.models.linear import copy_linear, find_layer
from pneumoscope.models.receptive_field import Field, receptive_fields, upsample

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 32

# A method takes a scorer, `(n, H, W)` uint8 images, `(n, classes)` chosen classes and `seed=`, and returns heatmaps.
Method = Callable[..., np.ndarray]


class Scorer:
    """The scores of a classifier, and their gradients at one layer and at the pixels.

    Scores are those before the last sigmoid or softmax (see `pneumoscope.models.linear`). Functions are compiled on
    first use and kept for all methods.

    Attributes:
        model: the classifier, which is not changed.
        flat: its flat linear copy.
        layer: name in the flat copy of the layer of the class-activation maps.
        fields: receptive fields of the layer's positions, along rows and along columns.
    """

    def __init__(self, model: "keras.Model", layer: str | None = None) -> None:
        """Copy a classifier.

        Args:
            model: a built Keras functional classifier of `(n, H, W, 1)` images with values 0 to 255; it may contain
                nested models.
            layer: name of a layer, or the path to it in nested models, `inner/layer`; by default the last
                convolutional one (`pneumoscope.models.backprop.list_heatmap_layers`).

        Raises:
            ValueError: if the layer is missing or has no feature map, or the model cannot be copied.
        """
        self.model = model
        self.flat = copy_linear(model)
        self.layer = find_layer(self.flat, layer or _list_heatmap_layers(self.flat)[-1])
        self.fields: tuple[Field, Field] = receptive_fields(self.flat, self.layer)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return int(self.flat.outputs[0].shape[-1])

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

    def check_images(self, images: np.ndarray) -> None:
        """Raise `ValueError` if images are not `(n, H, W)` uint8 of the model's size."""
        expected = tuple(self.model.inputs[0].shape[1:])
        if images.dtype != np.uint8 or (*images.shape[1:], 1) != expected:
            raise ValueError(
                f"images are {images.shape} {images.dtype}, expected (n, {expected[0]}, {expected[1]}) uint8, "
                f"for the model takes {expected}"
            )

    def choose(self, class_indices: ArrayLike | None, images: np.ndarray) -> np.ndarray:
        """Return `(n, classes)` float32, 1 for the class to explain of each image; by default the predicted one.

        Raises:
            ValueError: if the number of classes or a value does not fit.
        """
        if class_indices is None:
            class_indices = self.score(images.astype(np.float32)).argmax(axis=1) if len(images) else []
        indices = np.asarray(class_indices)
        if indices.shape != (len(images),) or not np.isin(indices, np.arange(self.num_classes)).all():
            raise ValueError(
                f"class_indices are {indices.shape} with values {np.unique(indices)}, "
                f"expected ({len(images)},) with values 0 to {self.num_classes - 1}"
            )
        return np.asarray(np.eye(self.num_classes, dtype=np.float32)[indices.astype(int)])

    def score(self, pixels: np.ndarray, *, change: np.ndarray | None = None) -> np.ndarray:
        """Return `(n, classes)` float32.

        Args:
            pixels: `(n, H, W)` float32 in [0, 255].
            change: `(n, h, w, filters)` float32, added to the layer's features.
        """
        if change is None:
            return np.asarray(self.flat.predict(pixels[..., None], batch_size=BATCH_SIZE, verbose=0))
        return np.asarray(self._opened.predict([pixels[..., None], change], batch_size=BATCH_SIZE, verbose=0)[0])

    def differentiate_layer(self, images: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the layer's features and the gradients of the chosen scores there, `(n, h, w, filters)` float32 each.

        Args:
            images: `(n, H, W)`, values 0 to 255.
            chosen: `(n, classes)` float32, as `choose` returns it.
        """
        shape = self._opened.inputs[1].shape[1:]
        features, gradients = [], []
        for batch in _batches(len(images)):
            pixels = images[batch, ..., None].astype(np.float32)
            inputs = [pixels, np.zeros((len(pixels), *shape), np.float32)]
            outputs, (gradient,) = self._at_layer(inputs, chosen[batch])
            features.append(_to_numpy(outputs[1]))
            gradients.append(_to_numpy(gradient))
        return np.concatenate(features), np.concatenate(gradients)

    def differentiate_pixels(self, images: np.ndarray, chosen: np.ndarray, *, guided: bool = False) -> np.ndarray:
        """Return `(n, H, W)` float32, the gradients of the chosen scores at the pixels, per gray level.

        Args:
            images: `(n, H, W)`, values 0 to 255.
            chosen: `(n, classes)` float32.
            guided: whether each ReLU also passes only gradients above 0.
        """
        differentiate = self._guided if guided else self._at_pixels
        parts = []
        for batch in _batches(len(images)):
            _, (gradient,) = differentiate([images[batch, ..., None].astype(np.float32)], chosen[batch])
            parts.append(_to_numpy(gradient)[..., 0])
        return np.concatenate(parts)

    def upsample(self, maps: np.ndarray) -> np.ndarray:
        """Upsample maps of the layer, `(n, h, w)`, to `(n, H, W)` float32 in [0, 1]; below 0 counts as 0.

        Each position lies at the center of its receptive field; a map falls to 0 beyond the outermost positions.
        """
        return upsample(np.maximum(maps, 0).astype(np.float32), *self.fields, self.model.inputs[0].shape[1:3])


def list_layers(model: "keras.Model") -> tuple[str, ...]:
    """Return the names of a model's convolutional layers for heatmaps, from the input on.

    Those of a nested model are named by the path to them, joined by dots.

    Raises:
        ValueError: if it has none.
    """
    return _list_heatmap_layers(copy_linear(model))


def _list_heatmap_layers(flat: "keras.Model") -> tuple[str, ...]:
    from pneumoscope.models.backprop import list_heatmap_layers

    names = list_heatmap_layers(flat)
    if not names:
        raise ValueError(f"model {flat.name!r} has no convolutional layer for heatmaps")
    return names


def choose_class(probabilities: np.ndarray) -> np.ndarray:
    """Return `(n,)` int: class 0, normal, where its probability is 0.5 or more, else the likeliest of pneumonia."""
    return np.where(probabilities[:, 0] >= 0.5, 0, 1 + probabilities[:, 1:].argmax(axis=1))


@cache
def rectify_guided() -> Any:
    """Return a ReLU whose gradient is that of guided backpropagation, see `gradients.guided_backprop`."""
    from keras import ops

    def rectify(values: Any) -> Any:
        def grad(*args: Any, upstream: Any = None) -> Any:
            if upstream is None:
                (upstream,) = args
            return ops.relu(upstream) * ops.cast(values > 0, upstream.dtype)

        return ops.relu(values), grad

    return ops.custom_gradient(rectify)


def _batches(count: int) -> list[slice]:
    return [slice(start, start + BATCH_SIZE) for start in range(0, count, BATCH_SIZE)]


def _to_numpy(tensor: Any) -> np.ndarray:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(tensor))
