"""Every image of a collection counts or is listed, and the metrics are those of the predictions of `read`."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pneumoscope.data.collection import scan_collection
from pneumoscope.data.duplicates import hash_images
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.errors import CollectionError, LabelError, PneumoscopeError
from pneumoscope.evaluation.evaluate import evaluate_models, should_hide
from pneumoscope.evaluation.gather import choose_split, gather_readings, open_collection
from pneumoscope.evaluation.predictor import describe_model
from pneumoscope.inference.batch import ReadBatch, read_files
from pneumoscope.inference.model_set import SHIPPED_DIR, Graph
from pneumoscope.inference.reader import Reader
from pneumoscope.labels import LabelSet
from pneumoscope.phantoms.phantom import draw_phantoms, phantom_dataset
from pneumoscope.report.evaluation_sentences import write_verdict

NUM_PHANTOMS = 56
OPTIONS = LabelOptions(classes=("normal", "pneumonia"))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Return a reader of the shipped models whose card has a conformal limit."""
    folder = shutil.copytree(SHIPPED_DIR, tmp_path_factory.mktemp("set") / "models")
    path = folder / "classifier" / "card.json"
    card = json.loads(path.read_text())
    conformal = {"method": "test", "coverage": 0.9, "fitted_on": "validation", "limit": 0.8}
    path.write_text(json.dumps({**card, "conformal": conformal}))
    return Reader.open(folder, num_threads=1, ignore_population=True)  # the table has ages up to 90


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Return a table of 56 phantoms without subtypes, a turned one, a broken one and one of another disease."""
    folder = tmp_path_factory.mktemp("hospital")
    phantoms = draw_phantoms(NUM_PHANTOMS, size=128, seed=8)
    lines = ["path,label,patient,sex,age"]
    labels = ["normal" if kind == "normal" else "pneumonia" for kind in phantoms.labels]
    for number, (image, label) in enumerate(zip(phantoms.images, labels, strict=True)):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
        lines.append(f"{number:03d}.png,{label},p{number // 2},{'FM'[number % 2]},{number}")
    Image.fromarray(np.rot90(phantoms.images[0])).save(folder / "turned.png")
    (folder / "broken.png").write_text("no image")
    (folder / "other.png").write_text("never opened")
    lines += ["turned.png,normal,q,F,3", "broken.png,normal,r,F,3", "other.png,fracture,s,F,3"]
    (folder / "images.csv").write_text("\n".join(lines))
    return folder / "images.csv"


@pytest.fixture(scope="module")
def evaluation(reader, manifest):
    return evaluate_models(reader, manifest, options=OPTIONS)


def test_every_image_counts_or_is_listed(evaluation):
    assert len(evaluation.images.names) == NUM_PHANTOMS + 1
    assert [entry["name"] for entry in evaluation.unreadable] == ["broken.png"]
    assert [entry["name"] for entry in evaluation.left_out] == ["other.png"]
    assert "fracture" in evaluation.left_out[0]["reason"]


def test_decisions_are_those_of_read(evaluation, reader, manifest):
    paths = [str(manifest.parent / name) for name in evaluation.images.names]
    readings = list(read_files(ReadBatch(reader), paths, num_workers=2))

    assert [reading.decision for reading in readings] == evaluation.images.decisions.tolist()
    for reading, probabilities in zip(readings, evaluation.images.probabilities, strict=True):
        if reading.probabilities:
            expected = [reading.probabilities[name] for name in reader.models.classes]
            np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_each_image_is_classified_once(reader, monkeypatch):
    dataset = phantom_dataset(num_train=2, num_test=10, size=192, seed=5)
    collection = open_collection(dataset, reader.label_set, size=192)
    expected = reader.compute_probabilities(dataset.images)
    classified, run = [], Graph.run

    def count(graph, inputs, outputs):
        classified.extend(inputs["image"] if "probabilities" in outputs else ())
        return run(graph, inputs, outputs)

    monkeypatch.setattr(Graph, "run", count)
    gathered = gather_readings(describe_model(reader), collection.table, collection.decode)

    assert len(classified) == len(dataset)
    np.testing.assert_allclose(gathered.images.probabilities, expected, atol=1e-6)


def test_rejected_images_still_count(evaluation):
    turned = evaluation.images.names.tolist().index("turned.png")

    assert evaluation.images.decisions[turned] == "rejected"
    assert evaluation.images.probabilities[turned].sum() == pytest.approx(1)
    assert sum(evaluation.rejections.reasons.values()) == (evaluation.images.decisions == "rejected").sum()
    assert evaluation.scopes["all"].num_images == NUM_PHANTOMS + 1
    assert evaluation.scopes["accepted"].num_images == (evaluation.images.decisions != "rejected").sum()
    assert evaluation.scopes["certain"].num_images <= evaluation.scopes["accepted"].num_images


def test_metrics_are_those_of_the_images(evaluation):
    images, threshold = evaluation.images, evaluation.thresholds["balanced"]
    flagged = 1 - images.probabilities[:, 0] >= threshold["pneumonia"]
    point = evaluation.scopes["all"].points["balanced"]

    assert point["sensitivity"].value == pytest.approx(flagged[images.positive == 1].mean())
    assert point["specificity"].value == pytest.approx((~flagged)[images.positive == 0].mean())
    assert point["specificity"].low <= point["specificity"].value <= point["specificity"].high
    assert point["accuracy"].value == pytest.approx((flagged == images.positive).mean())
    assert evaluation.rejections.accuracy["all"].n == evaluation.scopes["accepted"].num_images
    assert evaluation.selective["positive"].at_shares[1.0].value == pytest.approx(point["accuracy"].value)


def test_without_subtypes_three_classes_are_left_out(evaluation):
    assert evaluation.scopes["all"].classes is None
    assert set(evaluation.reliability) == set(evaluation.selective) == {"positive"}
    assert evaluation.true_shares == {}
    assert {"all", "normal", "pneumonia, class unknown"} == set(evaluation.conformal.metrics)


def test_columns_of_a_table_are_subgroups(evaluation):
    groups = {(group.trait, group.name): group.num_images for group in evaluation.subgroups}

    assert groups["sex", "F"] == NUM_PHANTOMS // 2 + 1
    assert groups["sex", "M"] == NUM_PHANTOMS // 2
    assert groups["age", "18 to 39 years"] == 22
    assert sum(count for (trait, _), count in groups.items() if trait == "exposure") == NUM_PHANTOMS + 1


def test_correcting_label_shift_changes_probabilities_and_no_decision(evaluation, reader, manifest):
    corrected = evaluate_models(reader, manifest, options=OPTIONS, correct_label_shift=True, confounders=False)

    assert corrected.corrected and not evaluation.corrected
    assert corrected.confounders is None and corrected.ood_check is None
    assert corrected.images.decisions.tolist() == evaluation.images.decisions.tolist()
    # As text, since the interval of a single image is not a number, which equals nothing.
    assert str(corrected.rejections) == str(evaluation.rejections)
    assert str(corrected.conformal) == str(evaluation.conformal)
    np.testing.assert_array_equal(corrected.images.probabilities, evaluation.label_shift.probabilities)
    shares = [share.value for share in evaluation.label_shift.shares.values()]
    np.testing.assert_allclose(corrected.images.probabilities.mean(axis=0), shares, atol=1e-3)


def test_a_folder_is_evaluated_on_its_test_images(reader, phantom_folder):
    evaluation = evaluate_models(reader, phantom_folder)

    assert evaluation.split == "test"
    assert all(name.startswith("test/") for name in evaluation.images.names)
    assert evaluation.scopes["all"].classes.metrics["accuracy"].n == 45
    assert set(evaluation.true_shares) == {"normal", "bacterial", "viral"}
    assert evaluation.label_shift is None
    assert set(evaluation.confounders.pixel_baselines) >= {"exposure", "histogram", "borders"}
    assert evaluation.confounders.split == evaluation.ood_check.split == "test"
    with pytest.raises(PneumoscopeError, match="expected 50 or more"):
        evaluate_models(reader, phantom_folder, correct_label_shift=True)


def test_untouched_images_are_predicted_as_read_predicts_them(evaluation):
    untouched, main = evaluation.confounders.metrics["untouched"], evaluation.main_metrics()

    assert untouched["auroc"].value == pytest.approx(main["auroc"].value, abs=1e-6)
    assert untouched["accuracy"].value == pytest.approx(main["accuracy"].value)
    assert evaluation.confounders.pixel_baselines == {}


@pytest.mark.parametrize("known_by", ["sha256", "hashes"])
def test_training_images_are_noticed_by_their_bytes_and_their_look(known_by, reader, tmp_path):
    radiographs = draw_phantoms(24, size=160, seed=3).images
    for number, image in enumerate(radiographs):
        (tmp_path / ("normal", "pneumonia")[number % 2]).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / ("normal", "pneumonia")[number % 2] / f"{number}.png")
    table = scan_collection(tmp_path).table.set_index("name")
    names = ["normal/0.png", "pneumonia/3.png"]
    again = np.stack([np.asarray(Image.fromarray(radiographs[number]).resize((128, 128))) for number in (0, 3)])
    known = {"sha256": table["sha256"][names].to_numpy().astype(str), "hashes": hash_images(again)}[known_by]
    references = replace(reader.models.references, **{"sha256": None, "hashes": None, known_by: known})
    trained = Reader(replace(reader.models, references=references))

    evaluation = evaluate_models(trained, tmp_path, split="all", confounders=False)
    without = evaluate_models(trained, tmp_path, confounders=False)

    assert evaluation.seen_in_training == names
    assert [entry["name"] for entry in without.left_out] == (names if known_by == "sha256" else [])


def test_the_ood_detector_is_checked_on_invalid_inputs(evaluation):
    first, *others = evaluation.ood_check.kinds

    assert first.flagged.n == NUM_PHANTOMS + 1
    assert first.rejected.value == pytest.approx(evaluation.rejections.rejected["all"].value)
    assert {kind.origin for kind in others} == {"learned", "unseen"}


def test_parts_are_not_hidden_with_few_images_of_a_class(phantom_folder):
    table = scan_collection(phantom_folder).table
    few = table[(table["label"] != "normal") | (table["label"] == "normal").cumsum().lt(4)]

    assert should_hide(table, KERMANY_LABELS, None) and not should_hide(table, KERMANY_LABELS, False)
    assert not should_hide(few, KERMANY_LABELS, None)
    with pytest.raises(PneumoscopeError, match="the smaller class has 3 images; expected 10 or more"):
        should_hide(few, KERMANY_LABELS, True)
    with pytest.raises(PneumoscopeError, match="need a model with a negative class"):
        should_hide(few, LabelSet(("a", "b")), True)


class Guesser:
    """A classifier of made-up probabilities by the gray levels of an image."""

    path, size = "guesser.onnx", 64

    def __init__(self, label_set):
        self.label_set = label_set

    def predict_images(self, images):
        levels = np.stack([images.mean(axis=(1, 2)) * (1 + n) % 7 for n in range(len(self.label_set.classes))], axis=1)
        return levels / 7 if self.label_set.multi_label else (levels + 1) / (levels + 1).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["kermany", "five-class", "multi-label"])
def test_any_classifier_is_evaluated_on_a_dataset(kind):
    dataset = phantom_dataset(num_train=3, num_test=60, size=64, seed=2, label_set=kind)
    evaluation = evaluate_models(Guesser(dataset.label_set), dataset, confounders=False)

    assert evaluation.split == "test" and len(evaluation.images.names) == 60
    assert evaluation.rejections is evaluation.conformal is evaluation.ood_check is evaluation.seen_in_training is None
    assert set(evaluation.notes) >= {"rejections", "conformal", "ood", "label-shift", "confounders"}
    assert 0.2 < evaluation.main_metrics()["auroc"].value < 0.8
    assert evaluation.operating_point == "0.5"
    if kind == "multi-label":
        assert evaluation.selective == {} and set(evaluation.reliability) == set(dataset.label_set.classes)
    with pytest.raises(CollectionError, match="expected 64"):
        evaluate_models(Guesser(dataset.label_set), phantom_dataset(num_train=1, num_test=9, size=96, label_set=kind))
    with pytest.raises(PneumoscopeError, match="'screening'; expected a number"):
        evaluate_models(Guesser(dataset.label_set), dataset, operating_point="screening")


def test_a_constant_output_is_reported_with_the_range_of_the_images():
    dataset = phantom_dataset(num_train=1, num_test=9, size=64)
    guesser = Guesser(dataset.label_set)
    guesser.predict_images = lambda images: np.full((len(images), 3), 1 / 3)
    verdict = write_verdict(evaluate_models(guesser, dataset, confounders=False))[0]

    assert "nearly the same output for all 9 images" in verdict
    assert f"range from {dataset.test.images.min()} to {dataset.test.images.max()}" in verdict


def test_classes_are_translated_to_those_of_the_model(phantom_folder):
    binary = LabelSet(("Normal", "Pneumonia"), "Normal")
    evaluation = evaluate_models(Guesser(binary), phantom_folder, confounders=False)

    assert evaluation.images.labels.tolist() == [int("NORMAL" not in name) for name in evaluation.images.names]
    with pytest.raises(LabelError, match="--map"):
        evaluate_models(Guesser(LabelSet(("normal", "covid"), "normal")), phantom_folder)


def test_a_missing_split_is_an_error(phantom_folder):
    table = scan_collection(phantom_folder).table

    assert choose_split(table, "all")[0].equals(table)
    with pytest.raises(CollectionError, match="the split val contains no image; expected one of: test, train, or all"):
        choose_split(table, "val")


@pytest.mark.real_data
def test_real_radiographs_of_both_classes(reader, real_data, tmp_path):
    radiographs = [
        (path, label)
        for label in ("NORMAL", "PNEUMONIA")
        for path in sorted((real_data / "test" / label).iterdir())[:30]
    ]
    lines = ["path,label,split", *(f"{path},{label},test" for path, label in radiographs)]
    (tmp_path / "images.csv").write_text("\n".join(lines))

    evaluation = evaluate_models(reader, tmp_path / "images.csv")

    assert evaluation.scopes["all"].num_images == 60
    assert evaluation.scopes["all"].ranking["auroc"].value > 0.85
    assert evaluation.rejections.rejected["all"].value < 0.1
