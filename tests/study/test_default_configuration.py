"""The default configuration from a folder to a reader: trained, evaluated on held-out series, exported."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")

from pneumoscope.anomaly.registry import load_detector
from pneumoscope.inference.model_set import as_input
from pneumoscope.inference.reader import Reader
from pneumoscope.io.study_folder import load_stage, model_dir
from pneumoscope.phantoms.phantom import draw_phantoms, write_phantoms
from pneumoscope.study.pipeline import run_study


@pytest.fixture
def two_series(tmp_path: Path) -> Path:
    """Return a folder of phantoms in which the normals' names are of two series."""
    folder = write_phantoms(tmp_path / "set", num_train=120, num_test=30, size=128, seed=4)
    for path in sorted(folder.glob("train/NORMAL/*")):
        if int(path.name.split("-")[1]) % 2:
            path.rename(path.with_name(f"NORMAL2-{path.name}"))
    return folder


@pytest.mark.integration
@pytest.mark.usefixtures("tiny_default")
def test_the_default_configuration_is_trained_evaluated_and_exported(two_series, tmp_path):
    out = tmp_path / "study"
    run_study(two_series, out, configurations=("default",), epochs=1)
    reader = Reader.open(out / "reader")
    card = json.loads((out / "reader" / "classifier" / "card.json").read_text())
    multiclass, binary, held_out, explanation, anomaly = (
        load_stage(out, "default", kind) for kind in ("multiclass", "binary", "held_out", "explain", "anomaly")
    )

    probabilities = (stage.evaluations["test"].probabilities[:, 0] for stage in (binary, multiclass))
    np.testing.assert_allclose(*probabilities, atol=1e-6)
    assert {"IM", "NORMAL2-IM"} == {name.rpartition("/")[2].split("-0")[0] for name in held_out.names if "IM" in name}
    assert card["operating_points_from"].startswith(f"{len(held_out.names)} images in held-out file-name series")
    assert card["seeds"]["seeds"] == [0, 1000, 2000]
    assert explanation.layers == ("stage_1_1", "stage_2_1")
    assert reader.has_heatmaps
    assert set(explanation.decisions) <= {0, 1, 2}
    images = draw_phantoms(3, size=128, seed=9).images
    decisions = {reading.decision for reading in reader.predict_images(images, ["x"] * 3)}
    assert decisions <= {"normal", "pneumonia", "uncertain", "rejected"}

    detector, thresholds = load_detector(model_dir(out, "default", "anomaly"))
    (scores,) = reader.models.anomaly.run(as_input(images), ["score"])
    np.testing.assert_allclose(scores, detector.score(images), rtol=1e-3)
    assert anomaly.thresholds == thresholds
    assert (anomaly.validation_scores >= thresholds["quantile"]).mean() <= anomaly.false_positive_rate
    anomaly_map = reader.compute_maps(images[0]).anomaly_map
    assert np.corrcoef(anomaly_map.ravel(), detector.anomaly_maps(images[:1]).ravel())[0, 1] > 0.9
