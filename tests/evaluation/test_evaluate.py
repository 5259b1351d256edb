"""Every image of a collection counts or is named, and the figures are those of what `read` answers."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pneumoscope.evaluation.robustness import choose_shortcuts

from pneumoscope.data.collection import scan_collection
from pneumoscope.errors import CollectionError, PneumoscopeError
from pneumoscope.evaluation.evaluate import evaluate_models
from pneumoscope.evaluation.gather import choose_split
from pneumoscope.inference.batch import BatchSettings, read_files
from pneumoscope.inference.model_set import SHIPPED_DIR
from pneumoscope.inference.reader import Reader
from pneumoscope.phantoms.phantom import draw_phantoms

NUM_FILMS = 56


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Return a reader of the shipped models whose card promises sets."""
    folder = shutil.copytree(SHIPPED_DIR, tmp_path_factory.mktemp("set") / "models")
    path = folder / "classifier" / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "conformal": {"coverage": 0.9, "limit": 0.8}}))
    return Reader.open(folder, num_threads=1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Return a manifest of 56 phantoms without sub-types, a turned one, a broken one and one of another disease."""
    folder = tmp_path_factory.mktemp("hospital")
    drawn = draw_phantoms(NUM_FILMS, size=128, seed=8)
    lines = ["path,label,patient,sex,age"]
    labels = ["normal" if kind == "normal" else "pneumonia" for kind in drawn.subtypes]
    for number, (image, label) in enumerate(zip(drawn.images, labels, strict=True)):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
        lines.append(f"{number:03d}.png,{label},p{number // 2},{'FM'[number % 2]},{number}")
    Image.fromarray(np.rot90(drawn.images[0])).save(folder / "turned.png")
    (folder / "broken.png").write_text("no image")
    (folder / "other.png").write_text("never opened")
    lines += ["turned.png,normal,q,F,3", "broken.png,normal,r,F,3", "other.png,fracture,s,F,3"]
    (folder / "films.csv").write_text("\n".join(lines))
    return folder / "films.csv"


@pytest.fixture(scope="module")
def found(reader, manifest):
    return evaluate_models(reader, manifest)


def test_no_image_is_passed_over_in_silence(found):
    assert len(found.images.names) == NUM_FILMS + 1
    assert [entry["name"] for entry in found.unreadable] == ["broken.png"]
    assert [entry["name"] for entry in found.left_out] == ["other.png"]
    assert "fracture" in found.left_out[0]["reason"]


def test_decisions_are_those_that_read_gives(found, reader, manifest):
    paths = [str(manifest.parent / name) for name in found.images.names]
    readings = list(read_files(reader, paths, BatchSettings(num_workers=2)))

    assert [reading.decision for reading in readings] == found.images.decisions.tolist()
    for reading, probabilities in zip(readings, found.images.probabilities, strict=True):
        if reading.probabilities:
            expected = [reading.probabilities[name] for name in reader.models.classes]
            np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_refused_images_are_told_apart_and_still_count(found):
    turned = found.images.names.tolist().index("turned.png")

    assert found.images.decisions[turned] == "refused"
    assert found.images.probabilities[turned].sum() == pytest.approx(1)
    assert sum(found.gate.refusals.values()) == (found.images.decisions == "refused").sum()
    assert found.scopes["all"].num_images == NUM_FILMS + 1
    assert found.scopes["accepted"].num_images == (found.images.decisions != "refused").sum()
    assert found.scopes["sure"].num_images <= found.scopes["accepted"].num_images


def test_figures_are_those_of_the_images(found):
    images, threshold = found.images, found.thresholds["balanced"]
    flagged = 1 - images.probabilities[:, 0] >= threshold
    point = found.scopes["all"].points["balanced"]

    assert point["sensitivity"].value == pytest.approx(flagged[images.labels == 1].mean())
    assert point["specificity"].value == pytest.approx((~flagged)[images.labels == 0].mean())
    assert point["specificity"].low <= point["specificity"].value <= point["specificity"].high
    assert point["accuracy"].value == pytest.approx((flagged == images.labels).mean())
    assert found.gate.answers["all"].n == found.scopes["accepted"].num_images
    assert found.selective["pneumonia"].at_shares[1.0].value == pytest.approx(point["accuracy"].value)


def test_without_sub_types_three_classes_are_left_out(found):
    assert found.scopes["all"].three_class is None
    assert set(found.reliability) == set(found.selective) == {"pneumonia"}
    assert found.true_shares == {}
    assert {"all", "normal", "pneumonia, sub-type unknown"} == set(found.conformal.figures)


def test_a_manifest_tells_subgroups(found):
    groups = {(group.trait, group.name): group.num_images for group in found.subgroups}

    assert groups["sex", "F"] == NUM_FILMS // 2 + 1
    assert groups["sex", "M"] == NUM_FILMS // 2
    assert groups["age", "18 to 39 years"] == 22
    assert sum(count for (trait, _), count in groups.items() if trait == "exposure") == NUM_FILMS + 1


def test_correcting_the_prior_shift_changes_probabilities_and_no_decision(found, reader, manifest):
    corrected = evaluate_models(reader, manifest, correct_label_shift=True, shortcuts=False)

    assert corrected.corrected and not found.corrected
    assert corrected.shortcuts is None and corrected.ood_check is None
    assert corrected.images.decisions.tolist() == found.images.decisions.tolist()
    # As text, since the interval of a single image is not a number, which equals nothing.
    assert str(corrected.gate) == str(found.gate)
    assert str(corrected.conformal) == str(found.conformal)
    np.testing.assert_array_equal(corrected.images.probabilities, found.label_shift.probabilities)
    shares = [share.value for share in found.label_shift.shares.values()]
    np.testing.assert_allclose(corrected.images.probabilities.mean(axis=0), shares, atol=1e-3)


def test_a_folder_is_assessed_on_its_test_images(reader, phantom_folder):
    found = evaluate_models(reader, phantom_folder)

    assert found.split == "test"
    assert all(name.startswith("test/") for name in found.images.names)
    assert found.scopes["all"].three_class.metrics["accuracy"].n == 45
    assert set(found.true_shares) == {"normal", "bacterial", "viral"}
    assert found.label_shift is None
    assert set(found.shortcuts.trivial) >= {"exposure", "histogram", "borders"}
    assert found.shortcuts.split == found.ood_check.split == "test"
    with pytest.raises(PneumoscopeError, match="expected 50 or more"):
        evaluate_models(reader, phantom_folder, correct_label_shift=True)


def test_films_as_they_are_are_answered_as_the_others_were(found):
    untouched, head = found.shortcuts.figures["untouched"], found.head_figures()

    assert untouched["auroc"].value == pytest.approx(head["auroc"].value, abs=1e-6)
    assert untouched["accuracy"].value == pytest.approx(head["accuracy"].value)
    assert found.shortcuts.trivial == {}


def test_the_gate_is_asked_of_wrong_inputs_too(found):
    first, *others = found.ood_check.kinds

    assert first.flagged.n == NUM_FILMS + 1
    assert first.refused.value == pytest.approx(found.gate.refused["all"].value)
    assert {kind.origin for kind in others} == {"learned", "unseen"}


def test_few_images_of_a_class_are_not_hidden(phantom_folder):
    table = scan_collection(phantom_folder).table
    few = table[(table["label"] == "pneumonia") | (table["label"] == "normal").cumsum().lt(4)]

    assert choose_shortcuts(table, None) and not choose_shortcuts(table, False)
    assert not choose_shortcuts(few, None)
    with pytest.raises(PneumoscopeError, match="a class has 3 images; expected 10 or more"):
        choose_shortcuts(few, True)


def test_models_that_promise_no_sets_have_none(manifest):
    plain = Reader.open(num_threads=1)

    if plain.coverage is None:
        with pytest.raises(PneumoscopeError, match="export them again"):
            plain.choose_sets(np.full((1, 3), 1 / 3))


def test_a_split_that_is_not_there_is_told(phantom_folder):
    table = scan_collection(phantom_folder).table

    assert choose_split(table, "all")[0].equals(table)
    with pytest.raises(CollectionError, match="no image of the split val; the collection has test, train"):
        choose_split(table, "val")


@pytest.mark.real_data
def test_real_films_of_both_kinds(reader, real_data, tmp_path):
    films = [
        (path, kind) for kind in ("NORMAL", "PNEUMONIA") for path in sorted((real_data / "test" / kind).iterdir())[:30]
    ]
    lines = ["path,label,split", *(f"{path},{kind},test" for path, kind in films)]
    (tmp_path / "films.csv").write_text("\n".join(lines))

    found = evaluate_models(reader, tmp_path / "films.csv")

    assert found.scopes["all"].num_images == 60
    assert found.scopes["all"].ranking["auroc"].value > 0.85
    assert found.gate.refused["all"].value < 0.1
