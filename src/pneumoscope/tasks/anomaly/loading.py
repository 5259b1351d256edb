"""A detector out of the folder that a study or a training left it in."""

import os

from pneumoscope.errors import BundleError
from pneumoscope.tasks.anomaly.autoencoder import PaperAutoencoder
from pneumoscope.tasks.anomaly.gaussian import Mahalanobis
from pneumoscope.tasks.anomaly.normals_model import load_normals_model


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
    thresholds = bundle.card.thresholds
    if thresholds is None:
        raise BundleError(f"{bundle_dir} holds a classifier, {bundle.card.architecture}; expected an anomaly detector")
    if bundle.card.architecture == "autoencoder":
        return PaperAutoencoder(bundle.model), thresholds
    encoder = load_bundle(bundle_dir, precision="float32").model
    return load_normals_model(encoder, bundle_dir), thresholds
