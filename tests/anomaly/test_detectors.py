from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

keras = pytest.importorskip("keras")

from pneumoscope.anomaly import registry
from pneumoscope.anomaly.detector import Detector, Normals, select_normals
from pneumoscope.anomaly.features import ENCODER_LAYERS, FeatureSource, average_patches, build_source, weigh_positions
from pneumoscope.anomaly.mahalanobis import fit_mahalanobis
from pneumoscope.anomaly.normality_model import normality_settings, train_encoder
from pneumoscope.anomaly.padim import fit_padim
from pneumoscope.anomaly.patchcore import choose_coreset, fit_patchcore
from pneumoscope.data.splits import split_dataset
from pneumoscope.errors import TrainingError
from pneumoscope.models.architectures.encoder import build_encoder
from pneumoscope.phantoms.lungs import find_lungs
from pneumoscope.phantoms.phantom import phantom_dataset
from pneumoscope.phantoms.synthetic_anomalies import add_anomalies

SIZE = 64
STEM = (4, 8)
TINY = ((8, 1, 1), (16, 1, 2), (24, 1, 2))
FEW = {"bank_size": 150, "num_candidates": 1500}


def draw_normals(size: int) -> Normals:
    phantoms = phantom_dataset(num_train=150, num_test=3, size=size, seed=5)
    return select_normals(split_dataset(phantoms, seed=0, val_share=0.25))


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pneumoscope.models.architectures.encoder.STEM", STEM)
        patch.setattr("pneumoscope.models.architectures.encoder.STAGES", TINY)
        yield


@pytest.fixture(scope="module")
def normals() -> Normals:
    return draw_normals(SIZE)


@pytest.fixture(scope="module")
def source(tiny: None) -> FeatureSource:
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)
    return build_source("random", build_encoder(size=SIZE), ENCODER_LAYERS)


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
    [
        fit_mahalanobis,
        lambda source, images: fit_padim(source, images, num_channels=20),
        lambda source, images: fit_patchcore(source, images, **FEW),
    ],
    ids=["mahalanobis", "padim", "patchcore"],
)
def test_an_unseen_shape_is_anomalous(
    fit: Callable[[FeatureSource, np.ndarray], Detector], normals: Normals, source: FeatureSource
) -> None:
    detector, plain = fit(source, normals.train.images), normals.held_out.images
    anomalous, masks = draw_shape(plain)
    scores, higher, maps = detector.score(plain), detector.score(anomalous), detector.anomaly_maps(anomalous)
    assert scores.dtype == higher.dtype == maps.dtype == np.float32
    assert maps.shape == plain.shape
    assert (higher > scores).mean() > 0.9
    assert roc_auc_score(masks.ravel(), maps.ravel()) > 0.8


def test_the_memory_bank_is_bounded(normals: Normals, source: FeatureSource) -> None:
    assert fit_patchcore(source, normals.train.images, **FEW).bank.shape == (FEW["bank_size"], 48)


def test_each_named_fit_function_exists() -> None:
    paths = {**registry._FIT_FUNCTIONS, **registry._FIT_FUNCTIONS_ON_FEATURES}.values()
    assert all(callable(resolve_name(f"pneumoscope.anomaly.{path}")) for path in paths)


def test_the_mean_patch_is_a_weighted_mean_of_positions(normals: Normals, source: FeatureSource) -> None:
    images = normals.held_out.images[:3]
    features = source.extractor.predict(images[..., None].astype(np.float32), verbose=0)
    means = [np.einsum("hw,nhwc->nc", *pair) for pair in zip(weigh_positions(source), features, strict=True)]
    np.testing.assert_allclose(np.concatenate(means, axis=1), average_patches(source, images), rtol=1e-3, atol=1e-4)


def test_a_missing_layer_is_named(source: FeatureSource) -> None:
    with pytest.raises(TrainingError, match="random has no layer stage_9"):
        build_source("other", source.extractor, ["stage_9"])


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


def test_features_learned_from_synthetic_anomalies_distinguish_them(tmp_path: Path) -> None:
    normals = draw_normals(SIZE // 2)
    settings = replace(normality_settings(4), learning_rate=5e-3, batch_size=4)
    source, curve = train_encoder(normals, out_dir=tmp_path, settings=settings)
    detector = fit_mahalanobis(source, normals.train.images)
    assert curve.loss[-1] < curve.loss[0]
    plain = normals.held_out.images
    rng, lungs = np.random.default_rng(0), find_lungs(plain)
    anomalous = [detector.score(add_anomalies(plain, lungs, rng)[0]) for _ in range(4)]
    assert (np.concatenate(anomalous)[:, None] > detector.score(plain)).mean() > 0.6
