"""A detector out of the folder that a study or a training left it in."""

import os

from pneumoscope.tasks.anomaly.autoencoder import PaperAutoencoder
from pneumoscope.tasks.anomaly.mahalanobis import Mahalanobis
from pneumoscope.tasks.anomaly.normality_model import load_normals_model


def load_detector(
    bundle_dir: str | os.PathLike[str], *, precision: str | None = None
) -> tuple[PaperAutoencoder | Mahalanobis, dict[str, float]]:
    """Return a trained detector and its thresholds by name.

    Args:
        bundle_dir: the folder.
        precision: Keras dtype policy of an autoencoder, by default the one it is trained in; the model of normals
            always computes in 32 bits.

    Raises:
        BundleError: if the folder holds none.
    """
    from pneumoscope.models.bundle import load_bundle

    bundle = load_bundle(bundle_dir, precision=precision)
    if bundle.model.name == "autoencoder":
        return PaperAutoencoder(bundle.model), bundle.card["thresholds"]
    encoder = load_bundle(bundle_dir, precision="float32").model
    return load_normals_model(encoder, bundle_dir), bundle.card["thresholds"]
