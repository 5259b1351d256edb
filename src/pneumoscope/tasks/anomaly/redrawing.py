"""Autoencoders that cannot copy: all that they know of a film passes through a few numbers, never through cells.

Both see an image freed of its own mean and contrast, so that a bright film is not odd for being bright.

- The denoising one is given films with parts hidden and grain added, and draws them whole; it is judged by likeness of
  structure (P. Bergmann et al., "Improving Unsupervised Defect Segmentation by Applying Structural Similarity to
  Autoencoders", VISAPP 2019; Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural
  Similarity", 2004).
- The variational one draws its code by chance around a place that is kept near the origin (D. P. Kingma and M. Welling,
  "Auto-Encoding Variational Bayes", ICLR 2014).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.models.settings import Augmentation
from pneumoscope.tasks.anomaly.autoencoder import check_alive
from pneumoscope.tasks.anomaly.detector import enlarge_maps, split_images
from pneumoscope.tasks.anomaly.learning import normals_settings, prepare_nets, train_on_normals
from pneumoscope.tasks.anomaly.evaluation import Normals

if TYPE_CHECKING:
    import keras

EPOCHS = 12
LEAST_EPOCHS = 8  # fewer leave drawings gray
CODE = 48  # numbers that a film passes through
FILTERS = (24, 48, 96, 128)
HIDDEN = Augmentation(noise=0.06, blur=0.6, erase=0.35, num_erased=3)
WINDOW = 7
DIVERGENCE = 0.02  # weight of the variational term, of a pixel's mean squared error times the code's length
_STEADY = (0.01**2 * 36, 0.03**2 * 36)  # of SSIM, for gray levels in units of their deviation, some 6 wide


@dataclass(frozen=True)
class Redrawing:
    """A trained autoencoder.

    Attributes:
        net: `(n, H, W, 1)` gray levels in [0, 255] to `original` and `drawn`, `(n, H, W, 1)` float32, standardized.
        structural: whether maps are told by structure; else they are squared errors.
    """

    net: "keras.Model"
    structural: bool

    @property
    def num_bytes(self) -> int:
        """Size of the weights in 32-bit floats."""
        return 4 * self.net.count_params()

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float32, the mean of each image's map."""
        parts = [self._compare(part).mean(axis=(1, 2)) for part in split_images(images)]
        return np.concatenate(parts).astype(np.float32)

    def localize(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, how ill each pixel was redrawn, a little smoothed."""
        size = images.shape[1]
        return np.concatenate([enlarge_maps(self._compare(part), size, blur=0.02) for part in split_images(images)])

    def redraw(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, H, W)` float32, what is drawn of each image, in units of its deviation."""
        return self.net.predict(images[..., None], batch_size=32, verbose=0)["drawn"][..., 0]

    def _compare(self, images: np.ndarray) -> np.ndarray:
        from keras import ops

        found = self.net.predict(images[..., None], batch_size=32, verbose=0)
        if self.structural:
            return np.asarray(ops.convert_to_numpy(1 - measure_likeness(found["original"], found["drawn"])))[..., 0]
        return np.square(found["original"] - found["drawn"])[..., 0]


def fit_denoising(
    normals: Normals, *, out_dir: Path, epochs: int = EPOCHS, code: int = CODE, seed: int = 0
) -> Redrawing:
    """Train the denoising autoencoder.

    Args:
        normals: those of `train` are learned from.
        out_dir: where the checkpoint stands.
        epochs: passes.
        code: numbers that a film passes through.
        seed: of weights, order and what is hidden.

    Raises:
        TrainingError: if the net came out dead; see `train_on_normals`.
    """
    return _fit(normals, out_dir=out_dir, epochs=epochs, code=code, variational=False, seed=seed)


def fit_variational(
    normals: Normals, *, out_dir: Path, epochs: int = EPOCHS, code: int = CODE, seed: int = 0
) -> Redrawing:
    """Train the variational autoencoder; see `fit_denoising`."""
    return _fit(normals, out_dir=out_dir, epochs=epochs, code=code, variational=True, seed=seed)


def _fit(normals: Normals, *, out_dir: Path, epochs: int, code: int, variational: bool, seed: int) -> Redrawing:
    import keras

    from pneumoscope.models.augmentation import augment_images

    prepare_nets(seed)
    size = normals.train.images.shape[1]
    learner = build_redrawing(size, code=code, variational=variational)
    hidden = Augmentation() if variational else HIDDEN

    def make_batch(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        levels = images.astype(np.float32)
        deviation = np.maximum(levels.std(axis=(1, 2), keepdims=True), 1.0)
        targets = (levels - levels.mean(axis=(1, 2), keepdims=True)) / deviation
        return augment_images(images, hidden, rng)[..., None], targets[..., None]

    settings = normals_settings(epochs, learning_rate=2e-3, batch_size=16)
    train_on_normals(
        learner,
        normals,
        replace(settings, weight_decay=0.0),
        make_batch=make_batch,
        loss=keras.losses.MeanSquaredError() if variational else build_structural_loss(),
        checkpoint_path=out_dir / f"{learner.name}.npz",
        seed=seed,
    )
    outputs = {"original": learner.get_layer("standardization").output, "drawn": learner.output}
    found = Redrawing(keras.Model(learner.inputs, outputs, name=f"{learner.name}_redrawing"), not variational)
    spread = found.redraw(normals.held_out.images[:64])
    check_alive(0.25 * spread + 0.5)
    return found


def build_redrawing(size: int, *, code: int, variational: bool) -> "keras.Model":
    """Return an autoencoder, `(n, size, size, 1)` in [0, 255] to `(n, size, size, 1)` float32, standardized."""
    import keras
    from keras import layers

    from pneumoscope.models.encoder import standardize_images

    inputs = keras.Input((size, size, 1), name="image")
    features = standardize_images(inputs)
    for number, filters in enumerate(FILTERS, start=1):
        features = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"encode_{number}")(
            features
        )
        features = layers.BatchNormalization(momentum=0.9, name=f"encode_{number}_normalization")(features)
        features = layers.ReLU(name=f"encode_{number}_relu")(features)
    cells = features.shape[1]
    features = layers.Flatten(name="flatten")(features)
    if variational:
        both = layers.Dense(2 * code, dtype="float32", name="code")(features)
        features = _build_chance(code, DIVERGENCE / (size * size) * code)(both)
    else:
        features = layers.Dense(code, name="code")(features)
    features = layers.Dense(cells * cells * FILTERS[-1], activation="relu", name="unfold")(features)
    features = layers.Reshape((cells, cells, FILTERS[-1]), name="cells")(features)
    for number, filters in enumerate(reversed(FILTERS), start=1):
        features = layers.UpSampling2D(name=f"up_{number}")(features)
        features = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"decode_{number}")(features)
        features = layers.BatchNormalization(momentum=0.9, name=f"decode_{number}_normalization")(features)
        features = layers.ReLU(name=f"decode_{number}_relu")(features)
    outputs = layers.Conv2D(1, 3, padding="same", dtype="float32", name="output")(features)
    return keras.Model(inputs, outputs, name="variational" if variational else "denoising")


def measure_likeness(first: Any, second: Any) -> Any:
    """Return the structural similarity (SSIM) of each pixel, in [-1, 1].

    Args:
        first, second: `(n, H, W, 1)` float32 in units of an image's deviation.
    """
    from keras import ops

    def blur(values: Any) -> Any:
        return ops.average_pool(values, WINDOW, strides=1, padding="same")

    mean_1, mean_2 = blur(first), blur(second)
    spread_1 = ops.maximum(blur(ops.square(first)) - ops.square(mean_1), 0)
    spread_2 = ops.maximum(blur(ops.square(second)) - ops.square(mean_2), 0)
    shared = blur(first * second) - mean_1 * mean_2
    levels = (2 * mean_1 * mean_2 + _STEADY[0]) / (ops.square(mean_1) + ops.square(mean_2) + _STEADY[0])
    return levels * (2 * shared + _STEADY[1]) / (spread_1 + spread_2 + _STEADY[1])


def build_structural_loss() -> "keras.losses.Loss":
    """Return one minus structural similarity, plus the absolute error, of standardized images."""
    import keras
    from keras import ops

    class StructuralLoss(keras.losses.Loss):
        """Structure beside gray levels: alone, structure leaves the levels of flat parts open."""

        def call(self, y_true: Any, y_pred: Any) -> Any:
            return ops.mean(1 - measure_likeness(y_true, y_pred), axis=(1, 2, 3)) + ops.mean(
                ops.abs(y_true - y_pred), axis=(1, 2, 3)
            )

    return StructuralLoss()


def _build_chance(code: int, weight: float) -> "keras.layers.Layer":
    """Return a layer that draws a code `(n, code)` from means and log variances `(n, 2 * code)` while it learns."""
    import keras
    from keras import ops

    class Chance(keras.layers.Layer):
        """The mean, where nothing is learned."""

        def __init__(self) -> None:
            super().__init__(dtype="float32", name="chance")
            self.generator = keras.random.SeedGenerator(0)

        def call(self, both: Any, training: bool | None = None) -> Any:
            mean, log_variance = both[:, :code], ops.clip(both[:, code:], -10, 10)
            divergence = 0.5 * ops.mean(ops.square(mean) + ops.exp(log_variance) - 1 - log_variance)
            self.add_loss(weight * divergence)
            if not training:
                return mean
            chance = keras.random.normal(ops.shape(mean), seed=self.generator, dtype="float32")
            return mean + ops.exp(0.5 * log_variance) * chance

    return Chance()
