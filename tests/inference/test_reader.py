"""The reader with the shipped models, and invalid model folders."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pneumoscope.data.decode import DecodedImage, decode_radiograph
from pneumoscope.data.remarks import Remarks
from pneumoscope.errors import ImageError, ModelError, PneumoscopeError
from pneumoscope.inference.cards import PARTS
from pneumoscope.inference.explanation import HeatmapExplanation
from pneumoscope.inference.illustration import illustrate
from pneumoscope.inference.model_set import SHIPPED_DIR, Graph, load_cards, load_model_set
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.table import list_columns
from pneumoscope.io.json_file import to_plain
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.fixture(scope="module")
def reader():
    return Reader.open(num_threads=1)


@pytest.fixture(scope="module")
def images():
    return draw_phantoms(12, size=192, seed=4).images


def make_lateral(image):
    return DecodedImage(image, Remarks(objections=["This is a lateral view."]))


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(SHIPPED_DIR, tmp_path / "models")


def test_a_reading_has_all_columns(reader, images):
    readings = reader.predict_images(images, [f"{number}.png" for number in range(12)])
    rows = [reading.to_row() for reading in readings]

    assert all(tuple(row) == list_columns(reader.scored) for row in rows)
    assert json.loads(json.dumps(rows)) == rows
    for reading in readings:
        assert set(reading.probabilities) in (set(), set(reader.scored))
        for name, probability in reading.probabilities.items():
            low, high = reading.intervals[name]
            assert 0 <= low <= probability <= high <= 1
    accepted = [row for row in rows if row["decision"] != "rejected"]
    assert len(accepted) >= 6
    for row in accepted:
        assert row["p_normal"] + row["p_bacterial"] + row["p_viral"] == pytest.approx(1, abs=2e-4)
        assert row["p_pneumonia"] == pytest.approx(row["p_bacterial"] + row["p_viral"], abs=2e-4)
        assert len(row["neighbors"]) == 5
        assert 0 <= row["anomaly_percentile"] <= 100


def test_readings_do_not_depend_on_the_batch(reader, images):
    together = reader.predict_images(images, ["x"] * len(images))
    alone = [reader.predict_images(image[None], ["x"])[0] for image in images]

    for one, other in zip(together, alone, strict=True):
        assert one.decision == other.decision
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_the_threshold_sets_the_decision(reader, images):
    readings = reader.predict_images(images, ["x"] * len(images), operating_point="0.0001")

    assert {reading.decision for reading in readings} <= {"pneumonia", "uncertain", "rejected"}
    assert {reading.operating_point for reading in readings} == {"0.0001"}
    assert reader.threshold("screening") <= reader.threshold("balanced") <= reader.threshold("specific")


@pytest.mark.parametrize("point", ["screening", "specific", 0.05])
def test_a_reading_is_decided_again_as_it_is_read(reader, images, point):
    readings = reader.predict([*images[:4]])

    again = [reader.redecide(reading, point) for reading in readings]

    assert again == reader.predict([*images[:4]], operating_point=point)


@pytest.mark.parametrize("point", ["0", "1", "1.5", "nan", "high", ""])
def test_an_unknown_operating_point_is_an_error(reader, point):
    with pytest.raises(PneumoscopeError, match="expected screening, balanced, specific, or a number"):
        reader.threshold(point)


def test_an_image_of_another_view_is_rejected_without_scores(reader, images):
    (reading,) = reader.predict_decoded([make_lateral(images[0])], ["x"])
    rotated = reader.predict_images(np.rot90(images, 1, (1, 2)), ["x"] * len(images))

    assert (reading.decision, reading.reason) == ("rejected", "This is a lateral view.")
    assert reading.probabilities == {} and reading.to_row()["p_pneumonia"] is None
    assert np.mean([reading.decision == "rejected" for reading in rotated]) > 0.8


def test_one_pass_returns_readings_and_probabilities_also_of_rejected_images(reader, images):
    decoded = [*map(DecodedImage, images), make_lateral(images[0])]
    names = [f"{number}.png" for number in range(len(decoded))]

    readings, probabilities = reader.predict_with_probabilities(decoded, names)

    assert readings == reader.predict_decoded(decoded, names)
    assert readings[-1].decision == "rejected"
    stack = np.stack([image.pixels for image in decoded])
    np.testing.assert_array_equal(probabilities, reader.compute_probabilities(stack))


def test_neighbors_are_the_nearest_of_other_patients(reader, images):
    references = reader.models.references
    readings = reader.predict_images(images, ["x"] * len(images))
    number = next(number for number, reading in enumerate(readings) if reading.neighbors)
    neighbors = readings[number].neighbors
    (same_file,) = reader.predict_images(images[number][None], [f"elsewhere/{neighbors[0].name.rsplit('/', 1)[-1]}"])
    patient = references.patients == references.patients[neighbors[0].index]
    distances = [case.distance for case in neighbors]

    assert distances == sorted(distances)
    assert [str(references.names[case.index]) for case in neighbors] == [case.name for case in neighbors]
    assert set(map(str, references.names[patient])).isdisjoint(case.name for case in same_file.neighbors)


def test_maps_have_their_shapes_and_ranges(reader, images):
    maps = reader.compute_maps(images[0])

    assert len(maps.heatmaps) == len(reader.models.classes)
    assert (maps.heatmaps >= 0).all()
    upsampled = reader.compute_heatmaps(images[:1], ["viral"])
    assert upsampled.shape == (1, 192, 192)
    assert upsampled.min() >= 0 and upsampled.max() in (0, pytest.approx(1))
    assert maps.anomaly_map.shape == (192, 192)
    assert 0 <= maps.anomaly_map.min() < maps.anomaly_map.max() <= 1
    low, high = reader.models.references.coordinates.min(axis=0), reader.models.references.coordinates.max(axis=0)
    assert (maps.position >= low).all() and (maps.position <= high).all()


def test_maps_come_with_the_reading_from_one_run_of_each_model(reader, images, monkeypatch):
    (expected,) = reader.predict_images(images[:1], ["x"])
    separate = reader.compute_maps(images[0])
    runs = []
    run = Graph.run
    monkeypatch.setattr(Graph, "run", lambda graph, *arguments: runs.append(graph.path) or run(graph, *arguments))
    reading, maps = reader.predict_with_maps(DecodedImage(images[0]), "x")
    (rejected, _) = reader.predict_with_maps(make_lateral(images[0]), "x")

    assert reading == expected
    assert runs == 2 * [reader.models.classifier.path, reader.models.anomaly.path]
    np.testing.assert_array_equal(maps.heatmaps, separate.heatmaps)
    np.testing.assert_array_equal(maps.anomaly_map, separate.anomaly_map)
    np.testing.assert_array_equal(maps.position, separate.position)
    assert (rejected.decision, rejected.reason) == ("rejected", "This is a lateral view.")


def test_one_input_gives_one_reading_and_many_give_a_list(reader, images, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(images[0]).save(path)
    (expected,) = reader.predict_decoded([decode_radiograph(path, size=192)], [str(path)])
    one = reader.predict(path)
    data = path.read_bytes()
    many = reader.predict([str(path), data, memoryview(data), Image.open(path), images[0]], operating_point="screening")

    assert one == expected
    assert [reading.path for reading in many] == [str(path), "", "", str(path), ""]
    assert {reading.operating_point for reading in many} == {"screening"}
    assert all(reading.probabilities == one.probabilities for reading in many)
    assert reader.predict(iter([path])) == [expected]
    assert reader.predict([]) == []
    assert reader.predict(bytearray(data), operating_point=0.3).operating_point == "0.3"


def test_an_unreadable_input_is_an_error_or_a_reading_with_the_error(reader, images, tmp_path):
    missing = tmp_path / "missing.png"
    readings = reader.predict([images[0] / 255, missing, images[0]])

    assert [bool(reading.error) for reading in readings] == [True, True, False]
    assert "float64 array in [0, 1]" in readings[0].error
    assert "does not exist" in readings[1].error and readings[1].path == str(missing)
    assert readings[1].decision is None and readings[2].decision
    assert readings[1].to_row().keys() == readings[2].to_row().keys()
    with pytest.raises(ImageError, match=r"missing\.png: the file does not exist"):
        reader.predict(missing)
    with pytest.raises(ImageError, match=r"missing\.png: the file does not exist"):
        reader.explain([missing])
    with pytest.raises(ImageError, match="image: int; expected a path"):
        reader.predict(5)


def test_an_explanation_has_the_size_of_the_radiograph(reader, images, tmp_path):
    large = np.asarray(Image.fromarray(images[0]).resize((300, 200)))
    explanation = reader.explain(large)
    (first, second) = reader.explain([large, images[0]], label="normal")

    assert explanation.heatmap.shape == explanation.image.shape == (200, 300)
    assert explanation.heatmap.dtype == np.float32
    assert 0 <= explanation.heatmap.min() <= explanation.heatmap.max() <= 1
    assert explanation.label == "pneumonia"
    assert explanation.overlay().size == (300, 200)
    assert Image.open(io.BytesIO(explanation._repr_png_())).size == (300, 200)
    assert (first.label, second.heatmap.shape) == ("normal", (192, 192))
    np.testing.assert_array_equal(second.heatmap, reader.compute_heatmaps(images[:1], ["normal"])[0])
    assert reader.explain([]) == []


def test_a_classifier_without_activation_maps_has_no_heatmaps(copied, images):
    path = copied / "classifier" / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "graph": {"outputs": ["probabilities", "embedding"]}}))
    reader = Reader.open(copied)
    (reading,) = reader.predict_images(images[:1], ["x"])

    assert not reader.has_heatmaps
    assert reader.compute_maps(images[0]).heatmaps is None
    assert illustrate(reader, images[0], images[0], reading)[1] is None
    with pytest.raises(PneumoscopeError, match=r"no class activation maps, .* `pneumoscope explain`"):
        reader.explain(images[0])


def test_parts_that_were_left_out_are_none(copied, images):
    path = copied / "classifier" / "card.json"
    missing = dict.fromkeys(("anomaly", "references", "ood_detector"), "there are no data at hand")
    path.write_text(json.dumps({**json.loads(path.read_text()), "missing": missing, "operating_points": {}}))
    shutil.rmtree(copied / "anomaly")
    reader = Reader.open(copied)
    (reading,) = reader.predict_images(images[:1], ["x"])

    assert reader.missing == missing and reader.threshold("balanced") == 0.5
    assert (reading.anomaly_score, reading.in_distribution, reading.neighbors) == (None, None, ())
    assert reading.to_row()["p_pneumonia"] > 0
    with pytest.raises(PneumoscopeError, match="expected balanced, or a number"):
        reader.threshold("screening")


def test_an_overlay_is_brighter_where_there_is_evidence():
    heatmap = np.zeros((20, 20), np.float32)
    heatmap[:10] = 1
    explanation = HeatmapExplanation("", "viral", heatmap, np.full((20, 20), 100, np.uint8))
    overlay = np.asarray(explanation.overlay())

    assert (overlay[10:] == 100).all()
    assert (overlay[:10] == overlay[0, 0]).all() and overlay[0, 0, 0] > 150 > overlay[0, 0, 2] - 60
    assert "20x20" in repr(explanation)


def test_embeddings_are_float32_rows(reader, images):
    embeddings = reader.embed(list(images[:3]))
    width = reader.models.references.embeddings.shape[1]

    assert embeddings.shape == (3, width) and embeddings.dtype == np.float32
    np.testing.assert_allclose(reader.embed(images[0]), embeddings[:1], atol=1e-4)
    assert reader.embed([]).shape == (0, width)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda reader, images: reader.explain(images[0], label="virus"), "no class 'virus'; expected one of normal,"),
        (lambda reader, images: reader.compute_heatmaps(images, ["x"] * 12), "no class 'x'"),
        (lambda reader, images: reader.predict(images[0], operating_point="high"), "operating point is 'high'"),
        (lambda reader, images: reader.predict_images(images / 255, ["x"] * 12), r"float64 array in \[0, 1\]"),
        (lambda reader, images: reader.predict_images(images[:, :64, :64], ["x"] * 12), r"expected \(n, 192, 192\)"),
        (lambda reader, images: reader.compute_maps(images), r"expected \(n, 192, 192\)"),
        (lambda reader, images: reader.embed([images]), "image 0: array of shape"),
    ],
)
def test_a_wrong_argument_is_an_error_of_this_package(reader, images, act, message):
    with pytest.raises(PneumoscopeError, match=message):
        act(reader, images)


def test_shipped_models_are_small_and_have_cards():
    total = sum(path.stat().st_size for path in SHIPPED_DIR.rglob("*") if path.is_file())

    assert total < 45e6
    for part in PARTS:
        card = json.loads((SHIPPED_DIR / part / "card.json").read_text())
        assert "Research use only" in card["notice"]
        assert "CC BY 4.0" in card["data"]["license"]
        assert "Research use only" in (SHIPPED_DIR / part / "README.md").read_text()


@pytest.mark.parametrize("part", PARTS)
def test_a_card_keeps_its_json_form(part):
    text = (SHIPPED_DIR / part / "card.json").read_text()
    expected = json.loads(text)
    settings = expected.get("settings") or {}
    for name in [name for name, value in settings.items() if value is None]:  # null, which is left out
        del settings[name]

    assert to_plain(getattr(load_cards(SHIPPED_DIR), part), skip_none=True) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classifier/card.json", None, "cannot be read"),
        ("anomaly/card.json", "{", "cannot be read"),
        ("anomaly/card.json", "[]", "is version None"),
        ("references/reference_cases.npz", None, "is missing"),
        ("references/reference_cases.npz", "x", "does not match its SHA-256 in card.json"),
    ],
)
def test_damaged_files_are_an_error(copied, name, content, message):
    (copied / name).unlink() if content is None else (copied / name).write_text(content)

    with pytest.raises(ModelError, match=message):
        load_model_set(copied)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"card_version": 1}, "is version 1 .* Export the models again"),
        ({"kind": "anomaly"}, "of part 'anomaly' of an exported model"),
        ({"files": {"../../etc/passwd": "0", "model.onnx": "0"}}, "files in the same folder only"),
        ({"files": None}, "is damaged .files: Input should be an object, not None"),
        ({"seed": "0"}, "is damaged .seed: Input should be a valid integer, not 0"),
        ({"calibration": {}}, "is damaged .calibration.method: Field required"),
        ({"label_set": {"classes": ["a", "b"]}}, "calibration.fitted has 4 values; expected 3 for 2 classes"),
        ({"settings": {"epochs": 0}}, "epochs is 0"),
        ({"files": {}}, "does not list model.onnx"),
    ],
)
def test_a_changed_card_is_an_error(copied, changes, message):
    path = copied / "classifier" / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, **changes}))

    with pytest.raises(ModelError, match=message):
        load_model_set(copied)
