"""A study becomes a set of models that a reader opens; a failed export leaves nothing behind."""

import json

import numpy as np
import pytest

from pneumoscope.anomaly.autoencoder import ReferenceAutoencoder
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import ExportError, ModelError, PneumoscopeError
from pneumoscope.export.reader import export_reader
from pneumoscope.export.study import export_study
from pneumoscope.inference.reader import Reader
from pneumoscope.models.prediction import predict_probabilities
from pneumoscope.models.saved_model import load_model
from pneumoscope.phantoms.phantom import draw_phantoms
from pneumoscope.study.pipeline import reopen_study

AUROC = {"value": 0.912345, "low": 0.9, "high": None, "n": 40}
HEATMAPS = {"method": "hirescam", "layer": "conv_1", "verdict": "A hint.", "metrics": {"road": AUROC}}


@pytest.fixture(scope="module")
def study(finished_study):
    """Return the arguments of an export, and the hash of the study's data."""
    request, dataset = reopen_study(finished_study, "improved")
    return (finished_study, dataset), request["data_sha256"]


@pytest.fixture(scope="module")
def exported(study, tmp_path_factory):
    """Return an export with audits."""
    arguments, data = study
    folder = tmp_path_factory.mktemp("export")
    explained = folder / "explain.json"
    explained.write_text(json.dumps({"data_sha256": data, "configuration": "improved", **HEATMAPS}))
    return export_study(*arguments, folder / "models", data_license="our own", explain_results=explained)


def test_a_reader_predicts_as_the_models_of_the_study_do(exported, finished_study, study):
    reader = Reader.open(exported)
    images = draw_phantoms(4, size=128, seed=9).images
    saved = load_model(finished_study / "models" / "improved-multiclass")
    expected = predict_probabilities(saved.model, images, KERMANY_LABELS)
    references, train = reader.models.references, study[0][1].split("train").table
    errors = ReferenceAutoencoder(load_model(finished_study / "models" / "improved-anomaly").model).score(images)

    (probabilities,) = reader.models.classifier.run({"image": images[..., None].astype(np.float32)}, ["probabilities"])
    readings = reader.predict_images(images, ["x"] * 4)

    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert references.names.tolist() == train["name"].tolist() and references.coordinates.shape == (len(train), 2)
    for reading, error in zip(readings, errors, strict=True):
        assert reading.decision == "rejected" or reading.anomaly_score == pytest.approx(float(error), rel=1e-3)


def test_the_card_names_what_was_chosen_on_which_images(exported):
    card = json.loads((exported / "classifier" / "card.json").read_text())

    assert card["notice"].startswith("Research use only")
    assert card["label_set"]["classes"] == ["normal", "bacterial", "viral"]
    assert card["data"]["license"] == "our own"
    assert card["data"]["splits"]["train"]["images"] == card["data"]["images"]
    assert {name for counts in card["data"]["splits"].values() for name in counts} >= set(card["label_set"]["classes"])
    assert set(card["operating_points"]) == {"screening", "balanced", "specific"}
    assert "validation images" in card["operating_points_from"]
    assert card["conformal"]["coverage"] == 0.9
    assert 0 < card["conformal"]["limit"] <= 1
    auroc = card["metrics"]["test"]["positive"]["auroc"]
    assert auroc["low"] <= auroc["value"] <= auroc["high"]


def test_audits_are_part_of_the_card(exported):
    reader = Reader.open(exported)
    card = reader.models.cards.classifier

    assert (card.explanation.layer, card.explanation.metrics["road"].value) == ("conv_1", 0.9123)
    assert reader.trust["heatmap_trust"] == "A hint."
    assert reader.trust["label_trust"].startswith("Bacterial versus viral is unreliable: AUROC 0.")
    assert not reader.has_heatmaps


@pytest.mark.parametrize(
    ("argument", "content", "message"),
    [
        ("explain_results", {**HEATMAPS, "data_sha256": "0"}, "measured on other data"),
        ("explain_results", {"layer": 3}, "cannot be read .method: "),
        ("explain_results", None, "cannot be read"),
        ("explain_results", HEATMAPS, "the configuration None, expected improved"),
    ],
    ids=["other-data", "damaged", "missing", "other-configuration"],
)
def test_an_audit_of_other_models_is_refused(study, tmp_path, argument, content, message):
    path = tmp_path / "audit.json"
    if content is not None:
        path.write_text(json.dumps({"data_sha256": study[1], **content}))

    with pytest.raises(PneumoscopeError, match=message):
        export_study(*study[0], tmp_path / "models", **{argument: path})


def test_a_failed_export_keeps_the_earlier_one(finished_study, tmp_path, monkeypatch):
    target = tmp_path / "reader"
    (target / "classifier").mkdir(parents=True)
    (target / "classifier" / "card.json").write_text("{}")
    monkeypatch.setattr("pneumoscope.export.onnx_file.export_graph.__kwdefaults__", {"tolerance": -1.0})

    with pytest.raises(ExportError, match="differs from the model"):
        export_reader(finished_study / "models" / "improved-binary", target)

    assert [path.name for path in tmp_path.rglob("*")] == ["reader", "classifier", "card.json"]


def test_a_missing_model_or_configuration_is_an_error(study, tmp_path):
    with pytest.raises(ModelError, match="is no folder of a trained model"):
        export_reader(tmp_path / "nothing", tmp_path / "reader")
    with pytest.raises(ExportError, match="is an anomaly detector"):
        export_reader(study[0][0] / "models" / "improved-anomaly", tmp_path / "reader")
    with pytest.raises(PneumoscopeError, match="no finished reference study"):
        export_study(*study[0], tmp_path / "models", configuration="reference")
    with pytest.raises(ModelError, match="pneumoscope export"):
        Reader.open(study[0][0] / "models" / "improved-binary")
