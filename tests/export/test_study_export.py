"""A study becomes a set of models that a reader opens; what cannot be exported leaves nothing behind."""

import json

import numpy as np
import pytest

from pneumoscope.anomaly.autoencoder import ReferenceAutoencoder
from pneumoscope.classification.classifier import predict_probabilities
from pneumoscope.errors import ExportError, ModelError, PneumoscopeError
from pneumoscope.export.onnx_file import AGREEMENT
from pneumoscope.export.study import export_model, export_study
from pneumoscope.inference.reader import Reader
from pneumoscope.models.saved_model import load_model
from pneumoscope.phantoms.phantom import draw_phantoms
from pneumoscope.report.model_card import write_model_cards
from pneumoscope.study.pipeline import reopen_study


def export(study_dir, *args, **kwargs):
    return export_study(study_dir, reopen_study(study_dir)[1], *args, **kwargs)


@pytest.fixture(scope="module")
def exported(finished_study, tmp_path_factory):
    return export_study(
        finished_study,
        reopen_study(finished_study)[1],
        tmp_path_factory.mktemp("export") / "models",
        data_license="drawn",
    )


def test_a_reader_of_an_exported_study_answers_as_its_models_do(exported, finished_study):
    reader = Reader.open(exported)
    films = draw_phantoms(4, size=128, seed=9).images
    shares = predict_probabilities(load_model(finished_study / "models" / "improved-three_class").model, films)
    errors = ReferenceAutoencoder(load_model(finished_study / "models" / "improved-anomaly").model).score(films)

    (found,) = reader.models.answers.run({"image": films[..., None].astype(np.float32)}, ["probabilities"])
    readings = reader.read(films, ["x"] * 4)

    np.testing.assert_allclose(found, shares, atol=0.05)
    for reading, error in zip(readings, errors, strict=True):
        assert reading.decision == "refused" or reading.anomaly_score == pytest.approx(float(error), rel=0.05)


def test_the_known_images_are_those_that_were_trained_on(exported, finished_study):
    train = reopen_study(finished_study)[1].split("train").table
    known = Reader.open(exported).models.known

    assert known.names.tolist() == train["name"].tolist()
    assert known.coordinates.shape == (len(train), 2)


def test_the_card_names_what_was_chosen_on_which_images(exported):
    card = json.loads((exported / "classifier" / "card.json").read_text())

    assert card["notice"].startswith("Research use only")
    assert card["classes"] == ["normal", "bacterial", "viral"]
    assert card["data"]["license"] == "drawn"
    assert card["data"]["splits"]["train"]["images"] == card["data"]["images"]
    assert {kind for counts in card["data"]["splits"].values() for kind in counts} >= set(card["classes"])
    assert set(card["operating_points"]) == {"screening", "balanced", "specific"}
    assert "validation images" in card["operating_points_from"]
    assert card["conformal"]["coverage"] == 0.9
    assert 0 < card["conformal"]["limit"] <= 1
    figure = card["figures"]["test"]["normal_or_pneumonia"]["auroc"]
    assert figure["low"] <= figure["value"] <= figure["high"]


def test_answers_in_whole_numbers_ship_only_where_they_agree(exported, finished_study, tmp_path, monkeypatch):
    monkeypatch.setattr("pneumoscope.export.onnx_file.AGREEMENT", dict.fromkeys(AGREEMENT, -1.0))
    plain = export(finished_study, tmp_path / "models")

    for part in ("classifier", "anomaly"):
        cards = [json.loads((folder / part / "card.json").read_text()) for folder in (exported, plain)]
        agreement = cards[0]["graph"]["agreement_of_int8"]
        agrees = all(value <= AGREEMENT[name] for name, value in agreement.items())
        assert cards[0]["graph"]["answers_precision"] == ("int8" if agrees else "float32")
        assert cards[1]["graph"]["answers_precision"] == "float32"
        assert cards[1]["graph"]["answers_file"] == "answers.onnx"
        for card in cards:
            assert card["graph"]["answers_file"] in card["files"]
    assert Reader.open(plain).read(draw_phantoms(1, size=128, seed=9).images, ["x"])


def test_audits_are_part_of_the_card(exported, finished_study, tmp_path):
    auroc, data = {"value": 0.912345, "low": 0.9, "high": None, "n": 40}, reopen_study(finished_study)[0]["data_sha256"]
    subtypes = {"images": 90, "inside": 20, "verdict": "Take care.", "figures": {"nets_outside": auroc}}
    explanation = {"method": "hirescam", "layer": "conv_1", "verdict": "A hint.", "figures": {"road": auroc}}
    audit, explained = tmp_path / "labels.json", tmp_path / "explain.json"
    audit.write_text(json.dumps({"data_sha256": data, **subtypes, "labels": []}))
    explained.write_text(json.dumps({"data_sha256": data, "configuration": "improved", **explanation}))
    models = export_study(
        finished_study,
        reopen_study(finished_study)[1],
        tmp_path / "models",
        explain_results=explained,
        label_audit=audit,
    )

    reader = Reader.open(models)
    card = reader.models.cards.classifier
    assert (card.subtypes.images, card.subtypes.inside, card.subtypes.figures["nets_outside"].value) == (90, 20, 0.9123)
    assert (card.explanation.layer, card.explanation.figures["road"].value) == ("conv_1", 0.9123)
    assert reader.trust == {"subtype_trust": "Take care.", "heatmap_trust": "A hint."}
    assert Reader.open(exported).models.cards.classifier.subtypes is None

    for content, message in (
        ({**subtypes, "data_sha256": "0"}, "measured on other data"),
        ({"images": "many"}, "cannot be read .images: "),
    ):
        audit.write_text(json.dumps(content))
        with pytest.raises(PneumoscopeError, match=message):
            export(finished_study, tmp_path / "models", label_audit=audit)
    with pytest.raises(PneumoscopeError, match="cannot be read"):
        export_study(
            finished_study, reopen_study(finished_study)[1], tmp_path / "models", label_audit=tmp_path / "nothing.json"
        )


def test_one_model_alone_is_exported_in_both_sizes(finished_study, tmp_path):
    folder = export_model(finished_study / "models" / "improved-binary", tmp_path / "one")

    names = {path.name for path in folder.iterdir()}
    assert names == {"model.onnx", "model.float16.onnx", "layers.onnx", "card.json"}
    assert set(json.loads((folder / "card.json").read_text())["files"]) == names - {"card.json"}
    write_model_cards(folder)
    assert "three_class" not in (folder / "README.md").read_text()


def test_a_failed_export_leaves_what_stood_there(finished_study, tmp_path, monkeypatch):
    target = tmp_path / "one"
    target.mkdir()
    (target / "card.json").write_text("{}")
    unreachable = {"reference": None, "tolerance": -1.0}
    monkeypatch.setattr("pneumoscope.export.onnx_file.export_graph.__kwdefaults__", unreachable)

    with pytest.raises(ExportError, match="does not answer as the model does"):
        export_model(finished_study / "models" / "improved-anomaly", target)

    assert [path.name for path in tmp_path.rglob("*")] == ["one", "card.json"]


def test_a_folder_of_other_things_is_left_alone(finished_study, tmp_path):
    (tmp_path / "mine").write_text("x")

    with pytest.raises(ExportError, match="holds something else"):
        export_model(finished_study / "models" / "improved-anomaly", tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_is_no_study_is_told(tmp_path, finished_study):
    with pytest.raises(ModelError, match="holds no trained model"):
        export_model(tmp_path / "nothing")
    with pytest.raises(PneumoscopeError, match="no finished study of the configuration paper"):
        export(finished_study, tmp_path / "models", configuration="reference")
