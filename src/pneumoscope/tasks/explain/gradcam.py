"""Grad-CAM: which places of an image spoke for a class, in the eyes of one layer.

A heat-map is the sum over a layer's filters of activation times gradient of the class's score, where above 0.
Two ways to take the gradient are kept apart here:

- its mean over all places, one weight a filter: Grad-CAM as published (R. R. Selvaraju et al., "Grad-CAM:
  Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017, equations 1 and 2). That
  is exact where the layer is followed by global average pooling;
- as it is at each place: HiResCAM (R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM for faithful
  explanations of convolutional neural networks", 2020, arXiv:2011.08891).

The nets of the project report flatten their last layer, so that a filter may speak for a class in one place and
against it in another. The mean wipes that out: on phantoms the averaged map misses most lesions and the other
one finds most, and on radiographs the averaged map of a pneumonia may be empty. So gradients are taken place by
place unless asked otherwise.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pneumoscope.models.geometry import draw_up, receptive_fields

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 32


def compute_gradcam(
    model: "keras.Model",
    images: np.ndarray,
    *,
    layer: str,
    class_indices: ArrayLike | None = None,
    average_gradients: bool = False,
) -> np.ndarray:
    """Return the heat-map of each image.

    The gradient is that of the class score before the final sigmoid or softmax, as in Selvaraju et al.
    (section 3): behind it, the gradient of a sure decision vanishes and that of one class mixes with all
    others. The map is drawn up to the image's size bilinearly, each cell at the middle of the pixels that it
    sees; it falls to 0 beyond the outermost cells, where the layer has none.

    Args:
        model: a built Keras functional classifier of `(n, H, W, 1)` images with values 0 to 255.
        images: `(n, H, W)` uint8.
        layer: name of the layer to look through; its output is `(n, h, w, filters)`.
        class_indices: `(n,)` ints, the class to explain for each image; by default the decided one.
        average_gradients: whether to average gradients over the layer, as Grad-CAM was published, instead of
            taking them place by place; see the top of this file.

    Returns:
        `(n, H, W)` float32 in [0, 1]; the largest value of each map is 1, or 0 where nothing in the layer
        spoke for the class.

    Raises:
        ValueError: if the layer is not there or has no grid of cells, the images are not of the model's
            size or not uint8, or the classes do not fit.
    """
    images = _with_channel(model, images)
    rows, columns = receptive_fields(model, layer)
    scorer = copy_linear(model)
    if class_indices is None:
        class_indices = model.predict(images, batch_size=BATCH_SIZE, verbose=0).argmax(axis=1)
    chosen = _one_hot(class_indices, num_images=len(images), num_classes=scorer.output.shape[-1])
    maps = _combine_filters(scorer, layer, images, chosen, average_gradients)
    return draw_up(maps, rows, columns, images.shape[1:3])


def _combine_filters(
    scorer: "keras.Model", layer: str, images: np.ndarray, chosen: np.ndarray, average_gradients: bool
) -> np.ndarray:
    """Return `(n, h, w)` float32, activation times gradient summed over the filters, where above 0."""
    import keras
    from keras import ops

    output = scorer.get_layer(layer).output
    trunk, differentiate = keras.Model(scorer.input, output), _compile_gradient(keras.Model(output, scorer.output))
    maps = np.zeros((len(images), *output.shape[1:3]), dtype=np.float32)
    for start in range(0, len(images), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        cells = trunk(images[batch].astype(np.float32), training=False)
        gradients = differentiate(cells, ops.convert_to_tensor(chosen[batch]))
        if average_gradients:
            gradients = ops.mean(gradients, axis=(1, 2), keepdims=True)
        maps[batch] = ops.convert_to_numpy(ops.relu(ops.sum(gradients * cells, axis=-1)))
    return maps


def copy_linear(model: "keras.Model") -> "keras.Model":
    """Return a float32 copy of a classifier that gives scores before the last sigmoid or softmax.

    The copy leaves the model itself untouched, and gives gradients in full precision whatever the
    precision that the model was trained in.
    """
    import keras

    last = model.layers[-1].name

    def rebuild(layer: Any) -> Any:
        config = {**layer.get_config(), "dtype": "float32"}
        if layer.name == last and "activation" in config:
            config["activation"] = "linear"
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=rebuild)
    for target, source in zip(copy.weights, model.weights, strict=True):
        # A copy of the numbers: JAX frees arrays that two models share.
        target.assign(np.array(keras.ops.convert_to_numpy(source)))
    return copy


def _compile_gradient(head: "keras.Model") -> Callable[[Any, Any], Any]:
    """Return a function of cells and one-hot classes that gives the gradient at the cells of the classes' scores.

    Keras has no gradient of its own: this is the one place that knows its backends.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def tape_gradient(cells: Any, chosen: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(cells)
                score = tf.reduce_sum(head(cells, training=False) * chosen)
            return tape.gradient(score, cells)

        # Traced here, once, for batches of any length.
        return tape_gradient.get_concrete_function(*(tf.TensorSpec(end.shape) for end in (head.input, head.output)))
    if keras.backend.backend() == "jax":
        import jax

        groups = head.trainable_variables, head.non_trainable_variables
        state = [[variable.value for variable in group] for group in groups]

        def score(cells: Any, chosen: Any, state: Any) -> Any:
            return (head.stateless_call(*state, cells, training=False)[0] * chosen).sum()

        gradient = jax.jit(jax.grad(score))
        return lambda cells, chosen: gradient(cells, chosen, state)
    import torch

    def autograd_gradient(cells: Any, chosen: Any) -> Any:
        cells = cells.detach().requires_grad_()
        return torch.autograd.grad((head(cells, training=False) * chosen).sum(), cells)[0]

    return autograd_gradient


def _with_channel(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Check images against the model's input and return them as `(n, H, W, 1)`."""
    expected = tuple(model.input.shape[1:])
    if images.dtype != np.uint8 or (*images.shape[1:], 1) != expected:
        raise ValueError(
            f"images are {images.shape} {images.dtype}, expected (n, {expected[0]}, {expected[1]}) uint8, "
            f"for the model takes {expected}"
        )
    return images[..., None]


def _one_hot(class_indices: ArrayLike, *, num_images: int, num_classes: int) -> np.ndarray:
    indices = np.asarray(class_indices)
    if indices.shape != (num_images,) or not np.isin(indices, np.arange(num_classes)).all():
        raise ValueError(
            f"class_indices are {indices.shape} with values {np.unique(indices)}, "
            f"expected ({num_images},) with values 0 to {num_classes - 1}"
        )
    return np.eye(num_classes, dtype=np.float32)[indices.astype(int)]
