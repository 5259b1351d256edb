"""A detector out of the folder that a study or a training left it in."""

import os

from pneumoscope.tasks.anomaly.autoencoder import PaperAutoencoder
from pneumoscope.tasks.anomaly.gaussian import Mahalanobis
from pneumoscope.tasks.anomaly.normals_model import load_normals_model


def load_detector(bundle_dir: str | os.PathLike[str]) -> tuple[PaperAutoencoder | Mahalanobis, dict[str, float]]:
    """Return a trained detector, in 32 bits, and its thresholds by name.

    Raises:
        BundleError: if the folder holds none.
    """
    from pneumoscope.models.bundle import load_bundle

    bundle = load_bundle(bundle_dir, precision="float32")
    if bundle.model.name == "autoencoder":
        return PaperAutoencoder(bundle.model), bundle.card["thresholds"]
    return load_normals_model(bundle.model, bundle_dir), bundle.card["thresholds"]
