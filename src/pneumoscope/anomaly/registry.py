"""Registry of anomaly detectors, and loading of trained detectors."""

import os
from collections.abc import Callable
from pkgutil import resolve_name

from pneumoscope.anomaly.autoencoder import ReferenceAutoencoder
from pneumoscope.anomaly.detector import Detector, FitContext
from pneumoscope.anomaly.features import FeatureSource, load_imagenet_source
from pneumoscope.anomaly.mahalanobis import Mahalanobis
from pneumoscope.anomaly.normality_model import load_normality_model, train_normality_features
from pneumoscope.errors import ModelError

IMAGENET_SUFFIX = "_imagenet"

# Detectors by name, as `file:function`. These functions take a `FitContext`.
_FIT_FUNCTIONS = {"autoencoder": "autoencoder:fit_autoencoder"}
# These functions take a `FeatureSource` and normals. Each is registered with features of the normality model, and with
# ImageNet features under the suffix `_imagenet`.
_FIT_FUNCTIONS_ON_FEATURES = {
    "mahalanobis": "mahalanobis:fit_mahalanobis",
    "padim": "padim:fit_padim",
    "patchcore": "patchcore:fit_patchcore",
}


def _load_imagenet(context: FitContext) -> FeatureSource:
    return load_imagenet_source(context.weights, input_size=context.normals.train.images.shape[1])


def _fit_on(load: Callable[[FitContext], FeatureSource], path: str) -> Callable[[FitContext], Detector]:
    """Return a function that fits a detector on the features from `load`."""

    def fit(context: FitContext) -> Detector:
        fit_detector: Callable[..., Detector] = resolve_name(f"{__package__}.{path}")
        return fit_detector(load(context), context.normals.train.images, seed=context.seed)

    return fit


# Detectors with the suffix `_imagenet` require `FitContext.weights`.
DETECTORS: dict[str, Callable[[FitContext], Detector]] = {
    **{name: resolve_name(f"{__package__}.{path}") for name, path in _FIT_FUNCTIONS.items()},
    **{name: _fit_on(train_normality_features, path) for name, path in _FIT_FUNCTIONS_ON_FEATURES.items()},
    **{name + IMAGENET_SUFFIX: _fit_on(_load_imagenet, path) for name, path in _FIT_FUNCTIONS_ON_FEATURES.items()},
}


def load_detector(bundle_dir: str | os.PathLike[str]) -> tuple[ReferenceAutoencoder | Mahalanobis, dict[str, float]]:
    """Load a trained detector and its thresholds by name.

    Args:
        bundle_dir: folder of a saved model.

    Raises:
        ModelError: if the folder contains no anomaly detector.
    """
    from pneumoscope.models.saved_model import load_model

    bundle = load_model(bundle_dir)
    thresholds = bundle.card.thresholds
    if thresholds is None:
        raise ModelError(f"{bundle_dir} is a classifier ({bundle.card.architecture}); expected an anomaly detector")
    if bundle.card.architecture == "reference-autoencoder":
        return ReferenceAutoencoder(bundle.model), thresholds
    return load_normality_model(bundle.model, bundle_dir), thresholds
