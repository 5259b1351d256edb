import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.errors import TrainingError  # noqa: E402
from pneumoscope.models.settings import autoencoder_settings  # noqa: E402
from pneumoscope.radiographs.dataset import Dataset  # noqa: E402
from pneumoscope.tasks.anomaly.autoencoder import check_alive, reconstruct_images, reconstruction_errors, train_anomaly  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, phantoms: Dataset):
    settings = autoencoder_settings("best", epochs=12)
    return train_anomaly(phantoms, tmp_path_factory.mktemp("anomaly"), settings=settings, false_alarm_rate=0.1)


def test_thresholds_come_from_held_out_normals(trained) -> None:
    bundle, anomaly = trained
    held_out = anomaly.validation_errors
    assert anomaly.thresholds["mean_plus_sd"] == pytest.approx(held_out.mean() + held_out.std(), rel=1e-5)
    assert (held_out >= anomaly.thresholds["quantile"]).sum() == int(0.1 * (len(held_out) + 1))
    assert bundle.card.thresholds == anomaly.thresholds


def test_flags_follow_the_errors(trained) -> None:
    _, anomaly = trained
    flagged = anomaly.errors >= anomaly.thresholds["mean_plus_sd"]
    for name, label in (("normal", 0), ("pneumonia", 1)):
        share = anomaly.metrics[f"flagged_{name}_mean_plus_sd"]
        assert share.value == pytest.approx(flagged[anomaly.labels == label].mean())
        assert share.low <= share.value <= share.high


def test_an_unseen_shape_is_more_anomalous_than_a_normal(trained, phantoms: Dataset) -> None:
    bundle, _ = trained
    test = phantoms.split("test")
    normals = test.images[test.table["label"] == "normal"]
    checkered = normals.copy()
    checkered[:, 40:88, 40:88] = 255 * (np.indices((48, 48)).sum(axis=0) % 2)
    assert (reconstruction_errors(bundle.model, checkered) > reconstruction_errors(bundle.model, normals)).all()


def test_error_maps_are_the_pixels_of_the_errors(trained, phantoms: Dataset) -> None:
    bundle, anomaly = trained
    errors = reconstruction_errors(bundle.model, phantoms.images[anomaly.examples])
    np.testing.assert_allclose(anomaly.error_maps.mean(axis=(1, 2)), errors, rtol=1e-4)


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_dead_output_fails_loudly(level: float) -> None:
    with pytest.raises(TrainingError, match="the autoencoder is dead"):
        check_alive(np.full((5, 16, 16), level, np.float32))


def test_the_same_drawing_for_all_fails_loudly() -> None:
    drawing = np.random.default_rng(0).random((1, 16, 16)).astype(np.float32)
    with pytest.raises(TrainingError, match="among images"):
        check_alive(np.repeat(drawing, 5, axis=0))


def test_a_net_with_dead_weights_is_noticed(phantoms: Dataset) -> None:
    from pneumoscope.models.paper import build_autoencoder

    model = build_autoencoder()
    kernel, bias = model.get_layer("output").get_weights()
    model.get_layer("output").set_weights([np.zeros_like(kernel), np.full_like(bias, -20)])
    with pytest.raises(TrainingError, match=r"mean gray level of 0\.000"):
        check_alive(reconstruct_images(model, phantoms.images[:8]))
