"""The model of normals that ships: features that learned drawn kinds of sickness apart, and one Gaussian of normals.

Kept as a bundle (`pneumoscope.models.bundle`) of the encoder, with `gaussians.npz` beside it.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from pneumoscope.errors import BundleError
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import Anomaly
from pneumoscope.tasks.anomaly.features import ENCODER_LAYERS, build_source
from pneumoscope.tasks.anomaly.mahalanobis import Mahalanobis, fit_mahalanobis
from pneumoscope.tasks.anomaly.kinds import SOURCE_NAME, kinds_settings, learn_kinds
from pneumoscope.tasks.anomaly.evaluation import select_normals
from pneumoscope.tasks.anomaly.trained import describe_training, measure_anomaly

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.bundle import Bundle

GAUSSIANS_NAME = "gaussians.npz"
_ARRAYS = ("mean", "whitening", "patch_mean", "patch_whitening")


def train_normals_model(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    false_alarm_rate: float = 0.05,
) -> "tuple[Bundle, Anomaly]":
    """Train the model of normals and measure what it flags; see `measure_anomaly`.

    Args:
        dataset: with the splits `train`, `val` and `test`.
        out_dir: where the model and the checkpoint of each epoch stand.
        settings: `kinds_settings()` by default.
        seed: of the weights, the order and the drawings.
        false_alarm_rate: share of normals that the second threshold may flag, in (0, 1).

    Raises:
        TrainingError: if there are no normals to train or to validate on.
    """
    from pneumoscope.models.bundle import save_bundle

    settings, out_dir, normals = settings or kinds_settings(), Path(out_dir), select_normals(dataset)
    source, curve = learn_kinds(normals, out_dir=out_dir, settings=settings, seed=seed)
    model, parameters = fit_mahalanobis(source, normals.train.images, seed=seed), source.encoder.count_params()
    anomaly = measure_anomaly(
        model, dataset, curve, parameters=parameters, false_alarm_rate=false_alarm_rate, seed=seed
    )
    facts = describe_training(anomaly, dataset, settings, precision="float32", seed=seed)
    _save_gaussians(model, out_dir)
    return save_bundle(source.encoder, out_dir, facts), anomaly


def load_normals_model(encoder: "keras.Model", bundle_dir: str | os.PathLike[str]) -> Mahalanobis:
    """Return the model of normals that an encoder is part of.

    Args:
        encoder: of the bundle in `bundle_dir`.
        bundle_dir: as `train_normals_model` left it.

    Raises:
        BundleError: if the Gaussians are missing or damaged.
    """
    path = Path(bundle_dir) / GAUSSIANS_NAME
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise BundleError(f"{path} cannot be read ({error}); expected what a study left. Train it anew.") from None
    return Mahalanobis(build_source(SOURCE_NAME, encoder, ENCODER_LAYERS), **arrays)


def _save_gaussians(model: Mahalanobis, out_dir: Path) -> None:
    partial = out_dir / f"partial.{GAUSSIANS_NAME}"
    np.savez(partial, **{name: getattr(model, name) for name in _ARRAYS})
    partial.replace(out_dir / GAUSSIANS_NAME)
