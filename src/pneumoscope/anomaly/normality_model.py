"""Normality model: the distance from the nearest normals in the features of a frozen network with ImageNet weights.

The network is a saved model (`pneumoscope.models.saved_model`); `normals.npz` in the same folder holds the features of
the normals.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.anomaly.detector import select_normals
from pneumoscope.anomaly.evaluation import FALSE_POSITIVE_RATE, describe_training, evaluate_detector
from pneumoscope.anomaly.features import build_trunk
from pneumoscope.anomaly.knn import NearestNormals, fit_knn
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import ModelError
from pneumoscope.io.read import read_arrays
from pneumoscope.io.results import AnomalyResult
from pneumoscope.io.write import atomic_write

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.saved_model import SavedModel

NORMALS_NAME = "normals.npz"
_ARRAYS = ("features", "patches")


def fit_normality_model(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    false_positive_rate: float = FALSE_POSITIVE_RATE,
) -> "tuple[SavedModel, AnomalyResult]":
    """Fit the normality model to normals and evaluate it; see `evaluate_detector`.

    Args:
        dataset: with the splits `train`, `val` and `test`.
        out_dir: folder for the saved model.
        seed: of the bootstrap and of samples of the normals, see `fit_knn`.
        false_positive_rate: of the quantile threshold, in (0, 1).

    Raises:
        LabelError: if the dataset has no negative class.
        TrainingError: if train or validation has no normals, or the weights of the network are not installed.
    """
    from pneumoscope.models.saved_model import save_model

    normals, out_dir = select_normals(dataset), Path(out_dir)
    trunk = build_trunk(dataset.images.shape[1])
    model = fit_knn(trunk, normals.train.images, seed=seed)
    result = evaluate_detector(
        model, dataset, parameters=trunk.count_params(), false_positive_rate=false_positive_rate, seed=seed
    )
    record = describe_training(result, dataset, None, precision="float32", seed=seed)
    with atomic_write(out_dir / NORMALS_NAME) as partial:
        np.savez(partial, **{name: getattr(model, name) for name in _ARRAYS})
    return save_model(trunk, out_dir, record), result


def load_normality_model(trunk: "keras.Model", bundle_dir: str | os.PathLike[str]) -> NearestNormals:
    """Load the normality model: `trunk` with the features of normals in `bundle_dir`.

    Raises:
        ModelError: if the features are missing or damaged.
    """
    path = Path(bundle_dir) / NORMALS_NAME
    try:
        arrays = read_arrays(path)
        return NearestNormals(trunk, *(arrays[name] for name in _ARRAYS))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} cannot be read ({error}); expected the normals of a study. Train again.") from None
