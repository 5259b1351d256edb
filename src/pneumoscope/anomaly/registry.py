"""Registry of anomaly detectors, and loading of trained detectors."""

import os
from collections.abc import Callable

from pneumoscope.anomaly.autoencoder import ReferenceAutoencoder, fit_autoencoder
from pneumoscope.anomaly.detector import Detector, FitContext
from pneumoscope.anomaly.features import build_trunk
from pneumoscope.anomaly.knn import NearestNormals, fit_knn
from pneumoscope.anomaly.mahalanobis import fit_mahalanobis
from pneumoscope.anomaly.normality_model import load_normality_model
from pneumoscope.anomaly.padim import fit_padim
from pneumoscope.anomaly.patchcore import fit_patchcore
from pneumoscope.errors import ModelError


def fit_on_trunk(fit_detector: Callable[..., Detector]) -> Callable[[FitContext], Detector]:
    """Return a function that fits a detector to the features of `build_trunk`.

    Args:
        fit_detector: takes the trunk, `(n, H, W)` uint8 normals and `seed`.
    """

    def fit(context: FitContext) -> Detector:
        images = context.normals.train.images
        return fit_detector(build_trunk(images.shape[1]), images, seed=context.seed)

    return fit


DETECTORS: dict[str, Callable[[FitContext], Detector]] = {
    "autoencoder": fit_autoencoder,
    "mahalanobis": fit_on_trunk(fit_mahalanobis),
    "padim": fit_on_trunk(fit_padim),
    "patchcore": fit_on_trunk(fit_patchcore),
    "knn": fit_on_trunk(fit_knn),
}


def load_detector(bundle_dir: str | os.PathLike[str]) -> tuple[ReferenceAutoencoder | NearestNormals, dict[str, float]]:
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
