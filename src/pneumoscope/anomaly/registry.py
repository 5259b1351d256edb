"""All anomaly detectors by name, and loading of trained ones."""

import os
from collections.abc import Callable
from functools import partial

from pneumoscope.anomaly.autoencoder import ReferenceAutoencoder, fit_autoencoder
from pneumoscope.anomaly.detector import Detector, FitContext
from pneumoscope.anomaly.features import FeatureSource, load_imagenet_source
from pneumoscope.anomaly.mahalanobis import Mahalanobis, fit_mahalanobis
from pneumoscope.anomaly.normality_model import load_normality_model, train_normality_features
from pneumoscope.anomaly.padim import fit_padim
from pneumoscope.anomaly.patchcore import fit_patchcore
from pneumoscope.errors import ModelError

# Opacities of pneumonia are wide, unlike the scratches that PaDiM's maximum is made for.
_FIT_WIDE_PADIM = partial(fit_padim, top_share=0.1)
IMAGENET_SUFFIX = "_imagenet"


def _load_imagenet(context: FitContext) -> FeatureSource:
    return load_imagenet_source(context.weights, input_size=context.normals.train.images.shape[1])


def _on(load: Callable[[FitContext], FeatureSource], fit: Callable[..., Detector]) -> Callable[[FitContext], Detector]:
    """Return a function that fits a detector on the features that `load` returns."""

    def fit_on_features(context: FitContext) -> Detector:
        return fit(load(context), context.normals.train.images, seed=context.seed)

    return fit_on_features


# Names that end in `_imagenet` need `FitContext.weights`.
DETECTORS: dict[str, Callable[[FitContext], Detector]] = {
    "autoencoder": fit_autoencoder,
    "mahalanobis": _on(train_normality_features, fit_mahalanobis),
    "padim": _on(train_normality_features, _FIT_WIDE_PADIM),
    "patchcore": _on(train_normality_features, fit_patchcore),
    "mahalanobis_imagenet": _on(_load_imagenet, fit_mahalanobis),
    "padim_imagenet": _on(_load_imagenet, _FIT_WIDE_PADIM),
    "patchcore_imagenet": _on(_load_imagenet, fit_patchcore),
}


def load_detector(
    bundle_dir: str | os.PathLike[str], *, precision: str | None = None
) -> tuple[ReferenceAutoencoder | Mahalanobis, dict[str, float]]:
    """Return a trained detector and its thresholds by name.

    Args:
        bundle_dir: folder that a training left.
        precision: Keras dtype policy of an autoencoder, by default the one it was trained in; the normality model
            always computes in float32.

    Raises:
        ModelError: if the folder holds no detector.
    """
    from pneumoscope.models.saved_model import load_model

    bundle = load_model(bundle_dir, precision=precision)
    thresholds = bundle.card.thresholds
    if thresholds is None:
        raise ModelError(f"{bundle_dir} holds a classifier, {bundle.card.architecture}; expected an anomaly detector")
    if bundle.card.architecture == "autoencoder":
        return ReferenceAutoencoder(bundle.model), thresholds
    return load_normality_model(load_model(bundle_dir, precision="float32").model, bundle_dir), thresholds
