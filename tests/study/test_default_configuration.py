"""The flagship from a folder to a reader: trained, judged on series it has not seen, exported."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras")

from pneumoscope.anomaly.registry import load_detector
from pneumoscope.export.study import export_study
from pneumoscope.inference.model_set import as_input
from pneumoscope.inference.reader import Reader
from pneumoscope.io.archive import load_result
from pneumoscope.phantoms.phantom import draw_phantoms, write_phantoms
from pneumoscope.study.pipeline import reopen_study, run_study


@pytest.fixture
def two_series(tmp_path: Path) -> Path:
    """Return a folder of phantoms in which the normals' names are of two series."""
    folder = write_phantoms(tmp_path / "set", num_train=120, num_test=30, size=128, seed=4)
    for path in sorted(folder.glob("train/NORMAL/*")):
        if int(path.name.split("-")[1]) % 2:
            path.rename(path.with_name(f"NORMAL2-{path.name}"))
    return folder


def test_a_flagship_is_trained_judged_and_read_with(two_series, tmp_path, monkeypatch):
    monkeypatch.setattr("pneumoscope.models.architectures.compact_resnet.STEM", (4, 8))
    monkeypatch.setattr("pneumoscope.models.architectures.compact_resnet.STAGES", ((8, 1, 1), (16, 1, 2)))

    out = tmp_path / "study"
    run_study(two_series, out, configurations=("default",), epochs=1)
    reader = Reader.open(export_study(out, reopen_study(out)[1], tmp_path / "models", configuration="default"))
    card = json.loads((tmp_path / "models" / "classifier" / "card.json").read_text())

    three, binary = (load_result(out / "stages" / f"default-{task}.npz") for task in ("three_class", "binary"))
    np.testing.assert_allclose(
        binary.evaluations["test"].probabilities[:, 0], three.evaluations["test"].probabilities[:, 0], atol=1e-6
    )
    held_out = load_result(out / "stages" / "default-held_out.npz")
    assert {"IM", "NORMAL2-IM"} == {name.rpartition("/")[2].split("-0")[0] for name in held_out.names if "IM" in name}
    assert card["operating_points_from"].startswith(f"{len(held_out.names)} images of series")
    assert card["seeds"]["seeds"] == [0, 1000, 2000]
    assert reader.layers == ("stem_2_relu", "stage_1_1", "stage_2_1")
    explanation = load_result(out / "stages" / "default-explain.npz")
    assert explanation.layers == reader.layers
    assert set(explanation.decisions) <= {0, 1}
    readings = reader.read(draw_phantoms(3, size=128, seed=9).images, ["x"] * 3)
    assert {reading.decision for reading in readings} <= {"normal", "pneumonia", "not sure", "refused"}
    check_anomaly(out, reader)


def check_anomaly(out: Path, reader: Reader) -> None:
    """The reader's anomaly scores and maps are those of the model of normals that the study trained."""
    films = draw_phantoms(3, size=128, seed=9).images
    detector, thresholds = load_detector(out / "models" / "default-anomaly")
    judged = load_result(out / "stages" / "default-anomaly.npz")

    (scores,) = reader.models.scores.run(as_input(films), ["score"])
    np.testing.assert_allclose(scores, detector.score(films), rtol=0.05)
    assert judged.thresholds == thresholds
    assert (judged.validation_scores >= thresholds["quantile"]).mean() <= judged.false_positive_rate
    shown = reader.compute_maps(films[0]).anomaly_map
    assert np.corrcoef(shown.ravel(), detector.anomaly_maps(films[:1]).ravel())[0, 1] > 0.9
