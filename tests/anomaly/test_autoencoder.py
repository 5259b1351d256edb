import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.anomaly.autoencoder import check_alive, reconstruct_images, reconstruction_errors, train_anomaly
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import TrainingError
from pneumoscope.models.settings import autoencoder_settings


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, phantoms: Dataset):
    settings = autoencoder_settings("improved", epochs=12)
    return train_anomaly(phantoms, tmp_path_factory.mktemp("anomaly"), settings=settings, false_positive_rate=0.1)


def test_thresholds_come_from_held_out_normals(trained) -> None:
    bundle, result = trained
    scores = result.validation_scores
    assert result.thresholds["mean_plus_sd"] == pytest.approx(scores.mean() + scores.std(), rel=1e-5)
    assert (scores >= result.thresholds["quantile"]).sum() == int(0.1 * (len(scores) + 1))
    assert bundle.card.thresholds == result.thresholds


def test_flagged_shares_follow_the_scores(trained) -> None:
    _, result = trained
    flagged = result.scores >= result.thresholds["mean_plus_sd"]
    for name, label in (("normal", 0), ("pneumonia", 1)):
        share = result.metrics[f"flagged_{name}_mean_plus_sd"]
        assert share.value == pytest.approx(flagged[result.labels == label].mean())
        assert share.low <= share.value <= share.high


def test_an_unseen_shape_is_more_anomalous_than_a_normal(trained, phantoms: Dataset) -> None:
    bundle, _ = trained
    test = phantoms.split("test")
    normals = test.images[test.table["label"] == "normal"]
    checkered = normals.copy()
    checkered[:, 40:88, 40:88] = 255 * (np.indices((48, 48)).sum(axis=0) % 2)
    assert (reconstruction_errors(bundle.model, checkered) > reconstruction_errors(bundle.model, normals)).all()


def test_the_mean_of_a_map_is_the_score(trained, phantoms: Dataset) -> None:
    bundle, result = trained
    errors = reconstruction_errors(bundle.model, phantoms.images[result.examples])
    np.testing.assert_allclose(result.anomaly_maps.mean(axis=(1, 2)), errors, rtol=1e-4)


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_dead_output_fails_loudly(level: float) -> None:
    with pytest.raises(TrainingError, match="the autoencoder is dead"):
        check_alive(np.full((5, 16, 16), level, np.float32))


def test_the_same_drawing_for_all_fails_loudly() -> None:
    drawing = np.random.default_rng(0).random((1, 16, 16)).astype(np.float32)
    with pytest.raises(TrainingError, match="among images"):
        check_alive(np.repeat(drawing, 5, axis=0))


def test_a_net_with_dead_weights_is_noticed(phantoms: Dataset) -> None:
    from pneumoscope.models.architectures.reference import build_autoencoder

    model = build_autoencoder()
    kernel, bias = model.get_layer("output").get_weights()
    model.get_layer("output").set_weights([np.zeros_like(kernel), np.full_like(bias, -20)])
    with pytest.raises(TrainingError, match=r"mean gray level of 0\.000"):
        check_alive(reconstruct_images(model, phantoms.images[:8]))
