"""Pixel-gradient methods; they need no layer.

`images` are `(n, H, W)` uint8, `chosen` are `(n, outputs)` float32, from `Scorer.choose`. Each method
returns `(n, H, W)` float32 in [0, 1]; the maximum of each map is 1, or 0 if the map is empty.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from pneumoscope.explain.scorer import Method, Scorer, differentiate_batches
from pneumoscope.models.gradients import compile_gradient
from pneumoscope.models.linear import copy_linear
from pneumoscope.models.receptive_field import receptive_fields, scale_to_peak, upsample
from pneumoscope.progress import track

NUM_STEPS = 32
NUM_NOISY = 24
NOISE_SHARE = 0.1
BLUR_SHARE = 0.08


def blur_images(images: np.ndarray) -> np.ndarray:
    """Return `(n, H, W)` images as float32, Gaussian-blurred with a standard deviation of 0.08 of the side.

    Blurred images are the baseline of all perturbation methods, because they keep the exposure.
    """
    sides = (0, *(BLUR_SHARE * side for side in images.shape[1:]))
    return np.asarray(gaussian_filter(images.astype(np.float32), sides, mode="nearest"))


def guided_backprop(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Block negative gradients at each ReLU (J. T. Springenberg et al., "Striving for Simplicity").

    A negative control: its maps hardly depend on the trained weights (J. Adebayo et al., "Sanity Checks for Saliency
    Maps", NeurIPS 2018).
    """
    return scale_to_peak(np.abs(scorer.differentiate_pixels(images, chosen, guided=True)))


def integrate_gradients(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, steps: int) -> np.ndarray:
    """Return the attribution of each pixel, `(n, H, W)` float32, with the blurred image as baseline.

    M. Sundararajan, A. Taly and Q. Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, equation 3, by the
    midpoint rule with `steps` steps. The attributions sum to the score difference of image and baseline.
    """
    baselines = blur_images(images)
    differences = images.astype(np.float32) - baselines
    shares = ((np.arange(steps) + 0.5) / steps).astype(np.float32)[:, None, None]
    attributions = np.empty(differences.shape, np.float32)
    for number in track(range(len(images)), "Integrated gradients"):
        path = baselines[number] + shares * differences[number]
        gradients = scorer.differentiate_pixels(path, np.repeat(chosen[number : number + 1], steps, axis=0))
        attributions[number] = gradients.mean(axis=0) * differences[number]
    return attributions


def integrated_gradients(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return the positive part of `integrate_gradients`."""
    return scale_to_peak(np.maximum(integrate_gradients(scorer, images, chosen, steps=NUM_STEPS), 0))


def smoothgrad(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Average the gradients of 24 noisy copies of each image (D. Smilkov et al., "SmoothGrad", 2017).

    The standard deviation of the noise is a tenth of the range of the image; the map is the absolute mean gradient.
    """
    rng = np.random.default_rng(seed)
    maps = np.empty(images.shape, np.float32)
    for number in track(range(len(images)), "SmoothGrad"):
        image = images[number].astype(np.float32)
        noise = rng.standard_normal((NUM_NOISY, *image.shape), dtype=np.float32)
        noisy = image + NOISE_SHARE * np.ptp(image) * noise
        gradients = scorer.differentiate_pixels(noisy, np.repeat(chosen[number : number + 1], NUM_NOISY, axis=0))
        maps[number] = np.abs(gradients.mean(axis=0))
    return scale_to_peak(maps)


def fullgrad(scorer: Scorer, images: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Sum the absolute input gradients and bias gradients of all convolutional layers.

    S. Srinivas and F. Fleuret, "Full-Gradient Representation for Neural Network Visualization", NeurIPS 2019: sum of
    |gradient x pixel| and |gradient x bias|, with the filters of each layer divided by their maximum. The bias of a
    normalization layer is its additive constant.
    """
    biases = _list_biases(scorer)
    names = tuple(biases)
    opened = copy_linear(scorer.model, opened=names, before_activation=True)
    differentiate = compile_gradient(opened, range(1 + len(names)))
    parts: list[np.ndarray] = []
    for _, (at_pixels, *at_layers) in differentiate_batches(differentiate, images, chosen, opened):
        start = sum(map(len, parts))
        total = scale_to_peak(np.abs(at_pixels[..., 0] * images[start : start + len(at_pixels)].astype(np.float32)))
        for name, gradient in zip(names, at_layers, strict=True):
            sizes = np.abs(gradient * biases[name])
            largest = sizes.max(axis=(1, 2, 3), keepdims=True)
            size = (sizes / np.where(largest > 0, largest, 1)).sum(axis=-1)
            upsampled = upsample(size, *receptive_fields(scorer.flat, name), images.shape[1:])
            total += upsampled * size.max(axis=(1, 2))[:, None, None]
        parts.append(total)
    return scale_to_peak(np.concatenate(parts))


def _list_biases(scorer: Scorer) -> dict[str, np.ndarray]:
    """Return the bias of each layer with a feature map by layer name, `(filters,)` float32."""
    from keras import layers, ops

    biases = {}
    for layer in scorer.flat.layers:
        if len(layer.output.shape) != 4:
            continue
        if isinstance(layer, layers.BatchNormalization):
            mean, variance = (ops.convert_to_numpy(part) for part in (layer.moving_mean, layer.moving_variance))
            scale = ops.convert_to_numpy(layer.gamma) if layer.scale else 1.0
            offset = ops.convert_to_numpy(layer.beta) if layer.center else 0.0
            biases[layer.name] = offset - scale * mean / np.sqrt(variance + layer.epsilon)
        elif getattr(layer, "bias", None) is not None:
            biases[layer.name] = ops.convert_to_numpy(layer.bias)
    return biases


METHODS: dict[str, Method] = {
    "guided_backprop": guided_backprop,
    "integrated_gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "fullgrad": fullgrad,
}
