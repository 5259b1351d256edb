"""A reader is adapted to the images of another hospital, and says what it was adapted to."""

import json
from dataclasses import replace

import numpy as np
import pytest

import pneumoscope as ps
from pneumoscope.adaptation.adapt import REPORT_NAME, write_verdict
from pneumoscope.adaptation.local_fit import LocalImages, compare_metrics, cross_validate_fit, fit_locally
from pneumoscope.errors import CollectionError, ExportError, LabelError, ModelError
from pneumoscope.evaluation.evaluate import evaluate_models
from pneumoscope.io.results import Estimate
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.calibration import weigh_groups
from pneumoscope.phantoms.phantom import phantom_dataset
from pneumoscope.report.model_card import write_model_cards

LABELS = LabelSet(("normal", "bacterial", "viral"), "normal", {"pneumonia": ("bacterial", "viral")})
BINARY = np.array([[1.0, 0, 0], [0, 1, 1]])


def make_images(count=200, *, members=BINARY, signal=0.0, shift=0.0, seed=0):
    """Return images whose first embedding dimension separates the groups, and probabilities that are shifted."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(members)
    embeddings = rng.normal(size=(count, 6))
    embeddings[:, 0] += signal * labels
    logits = rng.normal(size=(count, 3)) + shift * np.array([0, 1, 1])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return LocalImages(LABELS, probabilities, embeddings, members, labels, np.arange(count).astype(str))


@pytest.fixture(scope="module")
def hospital():
    """Return phantoms of which only normal or pneumonia is known, in train and test."""
    dataset = phantom_dataset(num_train=40, num_test=8, size=192, seed=5)
    label = np.where(dataset.table["label"] == "normal", "normal", "pneumonia")
    table = dataset.table.assign(label=label)
    return replace(dataset, table=table, label_set=LabelSet(("normal", "pneumonia"), "normal"))


@pytest.fixture(scope="module")
def adapted(hospital, tmp_path_factory):
    """Return readers with a new calibration, and with a last layer that must contradict the old one."""
    folder = tmp_path_factory.mktemp("adapted")
    names = {"normal": "pneumonia", "pneumonia": "normal"}
    swapped = replace(hospital, table=hospital.table.assign(label=hospital.table["label"].map(names)))
    reports = {
        "calibration": ps.adapt(hospital, folder / "calibration"),
        "layer": ps.adapt(swapped, folder / "layer", last_layer=True),
    }
    return folder, reports


def test_test_images_are_left_out_and_the_card_states_the_rest(adapted, hospital):
    folder, reports = adapted
    card = ps.Reader.open(folder / "calibration").models.cards.classifier
    report = json.loads((folder / "calibration" / REPORT_NAME).read_text())

    assert card.adapted == reports["calibration"] and report["images"] == len(hospital.train) == card.adapted.images
    assert set(card.adapted.sha256) == set(hospital.train.table["sha256"])
    assert sum(card.adapted.classes.values()) == card.adapted.images and set(card.adapted.classes) == {
        "normal",
        "pneumonia",
    }
    assert report["notice"] == ps.RESEARCH_USE_ONLY
    assert "Adaptation to another hospital" in (folder / "calibration/classifier/README.md").read_text()
    assert card.conformal is None and card.metrics == {}


def test_the_adapted_reader_predicts_and_says_that_it_was_adapted(adapted, hospital):
    folder, _ = adapted
    original = ps.Reader.open()
    readers = {name: ps.Reader.open(folder / name) for name in ("calibration", "layer")}
    image = hospital.images[:4]
    embeddings = original.models.classifier.run({"image": image[..., None]}, ["embedding"])[0]

    for reader in readers.values():
        assert ", adapted (research use only)" in reader.models.id
        assert reader.predict(image[0]).model == reader.models.id
        np.testing.assert_allclose(
            reader.models.classifier.run({"image": image[..., None]}, ["embedding"])[0], embeddings, atol=1e-5
        )
    assert len({original.models.id, *(reader.models.id for reader in readers.values())}) == 3


def test_reference_cases_of_the_original_hospital_make_no_adapted_reading_uncertain(adapted, hospital):
    readings = ps.Reader.open(adapted[0] / "layer").predict(list(hospital.images))
    decisions = {reading.decision for reading in readings}
    assert {"normal", "pneumonia"} & decisions
    assert not any("reference cases" in reading.reason for reading in readings)


def test_heatmaps_follow_the_last_layer(adapted, hospital):
    folder, reports = adapted
    assert "last layer" in reports["layer"].refitted
    old, new = (reader.compute_heatmaps(hospital.images[:2], ["bacterial"] * 2) for reader in
                (ps.Reader.open(), ps.Reader.open(folder / "layer")))  # fmt: skip
    assert not np.allclose(old, new)
    assert ps.Reader.open(folder / "layer").models.cards.classifier.explanation is None


def test_evaluate_leaves_out_the_images_of_the_adaptation(adapted, hospital):
    folder, reports = adapted
    reader = ps.Reader.open(folder / "calibration", num_threads=1)
    unsplit = replace(hospital, table=hospital.table.assign(split=""))

    evaluation = evaluate_models(reader, unsplit, confounders=False)

    assert len(evaluation.left_out) == reports["calibration"].images
    assert len(evaluation.images) == len(hospital.test)


def test_an_adapted_reader_is_not_adapted_again(adapted, hospital, tmp_path):
    with pytest.raises(ModelError, match="adapted before"):
        ps.adapt(hospital, tmp_path / "out", model=adapted[0] / "calibration")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (slice(0, 12), "12 images can be used"),
        ("rare", "expected 20 or more, with 8 images and 5 patients of each class"),
        ("one patient", "patients"),
    ],
)
def test_too_few_images_are_an_error(hospital, tmp_path, rows, message):
    train = hospital.train
    positives = np.flatnonzero(train.table["label"] == "pneumonia")
    if rows == "rare":
        train = train.select(np.setdiff1d(np.arange(len(train)), positives[5:]))
    elif rows == "one patient":
        patients = train.table["patient"].where(train.table["label"] == "normal", "p1")
        train = replace(train, table=train.table.assign(patient=patients))
    else:
        train = train.select(np.arange(len(train))[rows])
    with pytest.raises(CollectionError, match=message):
        ps.adapt(train, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_classes_and_foreign_folders_are_errors(hospital, tmp_path):
    other = replace(hospital, label_set=LabelSet(("well", "flu"), "well"))
    with pytest.raises(LabelError, match="Map"):
        ps.adapt(other, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file.txt").touch()
    with pytest.raises(ExportError, match="not an export"):
        ps.adapt(hospital, tmp_path / "mine")


def test_calibration_removes_a_shift_and_the_last_layer_finds_a_signal():
    shifted = make_images(shift=3.0, signal=3.0)
    metrics = {name: cross_validate_fit(shifted, 0.5, last_layer=name == "layer") for name in ("calibration", "layer")}

    assert metrics["calibration"]["difference"]["calibration_error"].high < 0
    assert metrics["calibration"]["after"]["auroc"].value < 0.65
    assert metrics["layer"]["after"]["auroc"].low > 0.9
    assert metrics["layer"]["difference"]["balanced_accuracy"].low > 0


def test_an_adaptation_without_signal_says_so():
    text = write_verdict(cross_validate_fit(make_images(100), 0.5, last_layer=True))
    assert "differ from chance" in text
    none = Estimate(0.0, -0.1, 0.1, 100)
    same = dict.fromkeys(("auroc", "balanced_accuracy", "calibration_error"), none)
    assert write_verdict({"difference": same, "after": {"auroc": Estimate(0.8, 0.7, 0.9, 100)}}).startswith(
        "The adaptation does not help"
    )


def test_groups_keep_the_odds_between_their_classes():
    images = make_images(signal=2.0)
    fit = fit_locally(images, last_layer=True, num_resamples=3)
    old, new = np.log(images.probabilities), np.log(fit.predict(images))
    odds = (new[:, 2] - new[:, 1]) / (old[:, 2] - old[:, 1])

    np.testing.assert_allclose(odds, odds[0])
    assert fit.calibration.shape == (4, 4)


def test_weights_of_groups_are_the_prior_of_their_classes():
    weights = weigh_groups(np.array([0, 0, 0, 1]), BINARY, np.ones(4), np.array([0.5, 0.3, 0.2]))
    assert weights == pytest.approx([1 / 6, 1 / 6, 1 / 6, 0.5])


def test_metrics_before_and_after_are_those_of_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    images = make_images(60, signal=1.0)
    side = (images.probabilities, np.full(60, 0.6))
    metrics = compare_metrics(images, side, side, np.zeros(60, int))
    scores = 1 - images.probabilities[:, 0]

    assert metrics["before"]["auroc"].value == pytest.approx(roc_auc_score(images.positive, scores))
    assert metrics["after"]["balanced_accuracy"].value == pytest.approx(
        balanced_accuracy_score(images.positive, scores >= 0.6)
    )
    assert metrics["difference"]["auroc"].value == 0


def test_cards_of_an_adapted_reader_can_be_written_again(adapted):
    folder, _ = adapted
    path = folder / "layer/classifier/README.md"
    before = path.read_text()
    path.unlink()
    write_model_cards(folder / "layer")
    assert (
        path.read_text() == before
        and ps.Reader.open(folder / "layer").models.cards.classifier.adapted.verdict in before
    )


def test_a_dataset_of_training_images_is_an_error(hospital, adapted, tmp_path, monkeypatch):
    known = (np.array(sorted(set(hospital.train.table["sha256"]))), None)
    original = ps.adapt.__globals__["describe_model"]
    monkeypatch.setitem(
        ps.adapt.__globals__, "describe_model", lambda reader: replace(original(reader), training_images=known)
    )
    with pytest.raises(CollectionError, match="trained on all"):
        ps.adapt(hospital.train, tmp_path / "out")


def test_classes_are_adapted_where_every_image_names_one(tmp_path):
    dataset = phantom_dataset(num_train=45, num_test=1, size=192, seed=6)
    report = ps.adapt(dataset, tmp_path / "out")
    assert tuple(report.classes) and set(report.classes) == set(LABELS.classes)
    assert ps.Reader.open(tmp_path / "out").coverage is not None
