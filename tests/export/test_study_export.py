"""A study becomes a set of models that a reader opens; a failed export leaves nothing behind."""

import json

import numpy as np
import pytest

from pneumoscope.anomaly.autoencoder import ReferenceAutoencoder
from pneumoscope.classification.classifier import predict_probabilities
from pneumoscope.errors import ExportError, ModelError, PneumoscopeError
from pneumoscope.export.model import export_model
from pneumoscope.export.study import export_study
from pneumoscope.inference.reader import Reader
from pneumoscope.models.saved_model import load_model
from pneumoscope.phantoms.phantom import draw_phantoms
from pneumoscope.report.model_card import write_model_cards
from pneumoscope.study.pipeline import reopen_study

AUROC = {"value": 0.912345, "low": 0.9, "high": None, "n": 40}
SUBTYPES = {
    "images": 90,
    "inside": 20,
    "verdict": "Take care.",
    "metrics": {"predictions_outside": AUROC},
    "labels": [],
}
HEATMAPS = {"method": "hirescam", "layer": "conv_1", "verdict": "A hint.", "metrics": {"road": AUROC}}


@pytest.fixture(scope="module")
def study(finished_study):
    """Return the arguments of an export, and the hash of the study's data."""
    request, dataset = reopen_study(finished_study)
    return (finished_study, dataset), request["data_sha256"]


@pytest.fixture(scope="module")
def exported(study, tmp_path_factory):
    """Return an export with audits."""
    arguments, data = study
    folder = tmp_path_factory.mktemp("export")
    audit, explained = folder / "labels.json", folder / "explain.json"
    audit.write_text(json.dumps({"data_sha256": data, **SUBTYPES}))
    explained.write_text(json.dumps({"data_sha256": data, "configuration": "improved", **HEATMAPS}))
    return export_study(
        *arguments, folder / "models", data_license="our own", explain_results=explained, label_audit=audit
    )


def read_card(folder, part):
    return json.loads((folder / part / "card.json").read_text())


def test_a_reader_predicts_as_the_models_of_the_study_do(exported, finished_study):
    reader = Reader.open(exported)
    images = draw_phantoms(4, size=128, seed=9).images
    expected = predict_probabilities(load_model(finished_study / "models" / "improved-three_class").model, images)
    errors = ReferenceAutoencoder(load_model(finished_study / "models" / "improved-anomaly").model).score(images)

    (probabilities,) = reader.models.classifier.run({"image": images[..., None].astype(np.float32)}, ["probabilities"])
    readings = reader.predict_images(images, ["x"] * 4)

    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    for reading, error in zip(readings, errors, strict=True):
        assert reading.decision == "rejected" or reading.anomaly_score == pytest.approx(float(error), rel=1e-3)


def test_the_reference_cases_are_the_training_images(exported, study):
    train = study[0][1].split("train").table
    references = Reader.open(exported).models.references

    assert references.names.tolist() == train["name"].tolist()
    assert references.coordinates.shape == (len(train), 2)


def test_the_card_names_what_was_chosen_on_which_images(exported):
    card = read_card(exported, "classifier")

    assert card["notice"].startswith("Research use only")
    assert card["classes"] == ["normal", "bacterial", "viral"]
    assert card["data"]["license"] == "our own"
    assert card["data"]["splits"]["train"]["images"] == card["data"]["images"]
    assert {name for counts in card["data"]["splits"].values() for name in counts} >= set(card["classes"])
    assert set(card["operating_points"]) == {"screening", "balanced", "specific"}
    assert "validation images" in card["operating_points_from"]
    assert card["conformal"]["coverage"] == 0.9
    assert 0 < card["conformal"]["limit"] <= 1
    auroc = card["metrics"]["test"]["normal_or_pneumonia"]["auroc"]
    assert auroc["low"] <= auroc["value"] <= auroc["high"]


def test_audits_are_part_of_the_card(exported):
    reader = Reader.open(exported)
    card = reader.models.cards.classifier

    assert (card.subtypes.images, card.subtypes.inside, card.subtypes.metrics["predictions_outside"].value) == (
        90,
        20,
        0.9123,
    )
    assert (card.explanation.layer, card.explanation.metrics["road"].value) == ("conv_1", 0.9123)
    assert reader.trust == {"subtype_trust": "Take care.", "heatmap_trust": "A hint."}
    assert not reader.has_heatmaps


@pytest.mark.parametrize(
    ("argument", "content", "message"),
    [
        ("label_audit", {**SUBTYPES, "data_sha256": "0"}, "measured on other data"),
        ("label_audit", {"images": "many"}, "cannot be read .images: "),
        ("label_audit", None, "cannot be read"),
        (
            "explain_results",
            {**HEATMAPS, "configuration": "reference"},
            "the configuration reference, expected improved",
        ),
        ("explain_results", HEATMAPS, "the configuration None, expected improved"),
    ],
    ids=["other-data", "damaged", "missing", "other-configuration", "no-configuration"],
)
def test_an_audit_of_other_models_is_refused(study, tmp_path, argument, content, message):
    path = tmp_path / "audit.json"
    if content is not None:
        path.write_text(json.dumps({"data_sha256": study[1], **content}))

    with pytest.raises(PneumoscopeError, match=message):
        export_study(*study[0], tmp_path / "models", **{argument: path})


def test_one_model_alone_is_exported(finished_study, tmp_path):
    folder = export_model(finished_study / "models" / "improved-binary", tmp_path / "one")

    names = {path.name for path in folder.iterdir()}
    assert names == {"model.onnx", "card.json"}
    assert set(json.loads((folder / "card.json").read_text())["files"]) == names - {"card.json"}
    write_model_cards(folder)
    assert "three_class" not in (folder / "README.md").read_text()


def test_a_failed_export_keeps_the_earlier_one(finished_study, tmp_path, monkeypatch):
    target = tmp_path / "one"
    target.mkdir()
    (target / "card.json").write_text("{}")
    monkeypatch.setattr("pneumoscope.export.onnx_file.export_graph.__kwdefaults__", {"tolerance": -1.0})

    with pytest.raises(ExportError, match="differs from the model"):
        export_model(finished_study / "models" / "improved-anomaly", target)

    assert [path.name for path in tmp_path.rglob("*")] == ["one", "card.json"]


def test_a_folder_with_other_content_is_not_replaced(finished_study, tmp_path):
    (tmp_path / "mine").write_text("x")

    with pytest.raises(ExportError, match="is not an export"):
        export_model(finished_study / "models" / "improved-anomaly", tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_missing_model_or_configuration_is_an_error(study, tmp_path):
    with pytest.raises(ModelError, match="holds no trained model"):
        export_model(tmp_path / "nothing")
    with pytest.raises(PneumoscopeError, match="no finished reference study"):
        export_study(*study[0], tmp_path / "models", configuration="reference")
