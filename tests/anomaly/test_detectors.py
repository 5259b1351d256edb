from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

keras = pytest.importorskip("keras")

from pneumoscope.anomaly.detector import Detector, Normals, select_normals
from pneumoscope.anomaly.features import build_trunk, crop_border, extract_normals, extract_patches
from pneumoscope.anomaly.knn import fit_knn
from pneumoscope.anomaly.mahalanobis import fit_mahalanobis
from pneumoscope.anomaly.padim import fit_padim
from pneumoscope.anomaly.patchcore import choose_coreset, fit_patchcore
from pneumoscope.data.splits import split_dataset
from pneumoscope.errors import TrainingError
from pneumoscope.phantoms.phantom import phantom_dataset

SIZE = 128
FEW = {"bank_size": 150, "num_candidates": 700}


@pytest.fixture(scope="module")
def normals() -> Normals:
    phantoms = phantom_dataset(num_train=150, num_test=3, size=SIZE, seed=5)
    return select_normals(split_dataset(phantoms, seed=0, val_share=0.25))


@pytest.fixture(scope="module")
def trunk() -> "keras.Model":
    keras.utils.set_random_seed(0)
    return build_trunk(SIZE)


def draw_shape(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images with a checkered disk in the right lung, which no normal has, and where it is."""
    size = images.shape[1]
    rows, columns = np.indices(images.shape[1:])
    disk = (rows - 0.47 * size) ** 2 + (columns - 0.3 * size) ** 2 < (size / 8) ** 2
    anomalous = images.copy()
    anomalous[:, disk] = 230 * ((rows // 4 + columns // 4) % 2)[disk]
    return anomalous, np.broadcast_to(disk, images.shape)


@pytest.mark.parametrize(
    "fit",
    [fit_mahalanobis, fit_padim, lambda trunk, images: fit_patchcore(trunk, images, **FEW), fit_knn],
    ids=["mahalanobis", "padim", "patchcore", "knn"],
)
def test_an_unseen_shape_is_anomalous(
    fit: Callable[["keras.Model", np.ndarray], Detector], normals: Normals, trunk: "keras.Model"
) -> None:
    detector, plain = fit(trunk, normals.train.images), normals.held_out.images
    anomalous, masks = draw_shape(plain)
    scores, higher, maps = detector.score(plain), detector.score(anomalous), detector.anomaly_maps(anomalous)
    assert scores.dtype == higher.dtype == maps.dtype == np.float32
    assert maps.shape == plain.shape
    assert (higher > scores).mean() > 0.9
    assert roc_auc_score(masks.ravel(), maps.ravel()) > 0.8


def test_patches_do_not_depend_on_the_batch_and_the_precision_policy(normals: Normals, trunk: "keras.Model") -> None:
    images = normals.held_out.images[:3]
    patches = extract_patches(trunk, images)
    assert patches.shape == (3, 4, 4, 192) and patches.dtype == np.float32
    np.testing.assert_allclose(extract_patches(trunk, images[1:2])[0], patches[1], atol=1e-4)
    assert not trunk.trainable_weights
    assert build_trunk(100, weights=None).output_shape == (None, 4, 4, 192)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert {weight.dtype for weight in build_trunk(32, weights=None).weights} == {"float32"}
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize(("side", "kept"), [(1, 1), (2, 2), (3, 3), (4, 2), (6, 4), (12, 8)])
def test_the_border_is_a_sixth_of_each_side(side: int, kept: int) -> None:
    cells = np.arange(side)[None, :, None, None] + np.zeros((1, side, side, 2))
    assert crop_border(cells).shape == (1, kept, kept, 2)
    assert crop_border(cells).mean() == (side - 1) / 2


def test_many_normals_are_sampled_and_none_is_an_error(
    normals: Normals, trunk: "keras.Model", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pneumoscope.anomaly.features.MAX_NORMALS", 4)
    with caplog.at_level("INFO", logger="pneumoscope"):
        assert len(extract_normals(trunk, normals.train.images)) == 4
    assert f"4 random normals of {len(normals.train)}" in caplog.text
    with pytest.raises(TrainingError, match="0 normals to fit a detector on"):
        extract_normals(trunk, normals.train.images[:0])


def test_the_memory_bank_is_bounded(normals: Normals, trunk: "keras.Model") -> None:
    assert fit_patchcore(trunk, normals.train.images, **FEW).bank.shape == (FEW["bank_size"], 192)


def test_a_coreset_is_bounded_and_reaches_the_outlier() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 1, (500, 6)), [[40.0] * 6]]).astype(np.float32)
    chosen = choose_coreset(points, 10)
    spread, spread_of_first = (
        np.linalg.norm(points[:, None] - points[rows], axis=-1).min(axis=1).max() for rows in (chosen, np.arange(10))
    )
    assert len(set(chosen.tolist())) == 10
    assert 500 in chosen
    assert spread < spread_of_first
