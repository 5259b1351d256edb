from dataclasses import replace

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.anomaly.autoencoder import ReferenceAutoencoder, check_reconstructions, train_anomaly
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.splits import split_dataset
from pneumoscope.errors import TrainingError
from pneumoscope.io.results import AnomalyResult
from pneumoscope.models.architectures.reference import build_autoencoder
from pneumoscope.models.saved_model import SavedModel
from pneumoscope.models.settings import autoencoder_settings
from pneumoscope.phantoms.phantom import phantom_dataset

SIZE = 32


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return split_dataset(phantom_dataset(num_train=90, num_test=30, size=SIZE, seed=3), seed=3, val_share=0.25)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> tuple[SavedModel, AnomalyResult]:
    settings = replace(autoencoder_settings("improved", epochs=12), batch_size=8)
    return train_anomaly(dataset, tmp_path_factory.mktemp("anomaly"), settings=settings, false_positive_rate=0.1)


def test_thresholds_come_from_held_out_normals(trained: tuple[SavedModel, AnomalyResult]) -> None:
    bundle, result = trained
    scores = result.validation_scores
    assert (scores >= result.thresholds["quantile"]).sum() == int(0.1 * (len(scores) + 1))
    assert bundle.card.thresholds == result.thresholds


def test_flagged_shares_follow_the_scores(trained: tuple[SavedModel, AnomalyResult]) -> None:
    _, result = trained
    flagged = result.scores >= result.thresholds["quantile"]
    for name, label in (("false_positive_rate", 0), ("sensitivity", 1)):
        share = result.metrics[f"{name}_quantile"]
        assert share.value == pytest.approx(flagged[result.labels == label].mean())
        assert share.low <= share.value <= share.high


def test_an_unseen_shape_is_more_anomalous_than_a_normal(
    trained: tuple[SavedModel, AnomalyResult], dataset: Dataset
) -> None:
    detector, test = ReferenceAutoencoder(trained[0].model), dataset.split("test")
    normals = test.images[test.table["label"] == "normal"]
    checkered, side = normals.copy(), slice(SIZE // 4, 3 * SIZE // 4)
    checkered[:, side, side] = 255 * (np.indices((SIZE // 2, SIZE // 2)).sum(axis=0) % 2)
    assert (detector.score(checkered) > detector.score(normals)).all()


def test_the_mean_of_a_map_is_the_score(trained: tuple[SavedModel, AnomalyResult], dataset: Dataset) -> None:
    bundle, result = trained
    scores = ReferenceAutoencoder(bundle.model).score(dataset.images[result.examples])
    np.testing.assert_allclose(result.anomaly_maps.mean(axis=(1, 2)), scores, rtol=1e-4)


@pytest.mark.parametrize(
    ("reconstructions", "message"),
    [
        (np.full((5, 16, 16), 0.5, np.float32), "the autoencoder collapsed"),
        (np.repeat(np.random.default_rng(0).random((1, 16, 16)), 5, axis=0), "0.0000 between images"),
    ],
    ids=["blank", "the same for all"],
)
def test_reconstructions_without_content_raise_an_error(reconstructions: np.ndarray, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        check_reconstructions(reconstructions)


def test_dead_weights_raise_an_error(dataset: Dataset) -> None:
    model = build_autoencoder(size=SIZE)
    kernel, bias = model.get_layer("output").get_weights()
    model.get_layer("output").set_weights([np.zeros_like(kernel), np.full_like(bias, -20)])
    with pytest.raises(TrainingError, match=r"reconstructions is 0\.000"):
        check_reconstructions(ReferenceAutoencoder(model).reconstruct(dataset.images[:8]))
