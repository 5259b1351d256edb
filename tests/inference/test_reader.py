"""The reader with the shipped models, and invalid model folders."""

import json
import shutil

import numpy as np
import pytest

from pneumoscope.errors import ModelError, PneumoscopeError
from pneumoscope.inference.model_set import PARTS, SHIPPED_DIR, load_cards, load_model_set
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import SCORED
from pneumoscope.inference.table import COLUMNS
from pneumoscope.io.json_file import to_plain
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.fixture(scope="module")
def reader():
    return Reader.open(num_threads=1)


@pytest.fixture(scope="module")
def images():
    return draw_phantoms(12, size=128, seed=4).images


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(SHIPPED_DIR, tmp_path / "models")


def test_a_reading_has_all_columns(reader, images):
    readings = reader.read(images, [f"{number}.png" for number in range(12)])
    rows = [reading.to_row() for reading in readings]

    assert all(tuple(row) == COLUMNS for row in rows)
    assert json.loads(json.dumps(rows)) == rows
    for reading in readings:
        assert set(reading.probabilities) in (set(), set(SCORED))
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
    together = reader.read(images, ["x"] * len(images))
    alone = [reader.read(image[None], ["x"])[0] for image in images]

    for one, other in zip(together, alone, strict=True):
        assert one.decision == other.decision
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_the_threshold_sets_the_decision(reader, images):
    readings = reader.read(images, ["x"] * len(images), operating_point="0.0001")

    assert {reading.decision for reading in readings} <= {"pneumonia", "uncertain", "rejected"}
    assert {reading.operating_point for reading in readings} == {"0.0001"}
    assert reader.threshold("screening") <= reader.threshold("balanced") <= reader.threshold("specific")


@pytest.mark.parametrize("point", ["0", "1", "1.5", "nan", "high", ""])
def test_an_unknown_operating_point_is_an_error(reader, point):
    with pytest.raises(PneumoscopeError, match="expected screening, balanced, specific, or a number"):
        reader.threshold(point)


def test_an_objection_of_the_header_rejects_an_image_without_scores(reader, images):
    (reading,) = reader.read(images[:1], ["x"], objections=[["This is a lateral view."]])

    assert reading.decision == "rejected"
    assert "lateral" in reading.reason
    assert reading.probabilities == {}
    assert reading.to_row()["p_pneumonia"] is None


def test_a_rotated_image_is_rejected(reader, images):
    readings = reader.read(np.rot90(images, 1, (1, 2)), ["x"] * len(images))

    assert np.mean([reading.decision == "rejected" for reading in readings]) > 0.8


def test_neighbors_are_the_nearest_of_other_patients(reader, images):
    references = reader.models.references
    readings = reader.read(images, ["x"] * len(images))
    number = next(number for number, reading in enumerate(readings) if reading.neighbors)
    neighbors = readings[number].neighbors
    (same_file,) = reader.read(images[number][None], [f"elsewhere/{neighbors[0].name.rsplit('/', 1)[-1]}"])
    patient = references.patients == references.patients[neighbors[0].index]
    distances = [case.distance for case in neighbors]

    assert distances == sorted(distances)
    assert [str(references.names[case.index]) for case in neighbors] == [case.name for case in neighbors]
    assert set(map(str, references.names[patient])).isdisjoint(case.name for case in same_file.neighbors)


def test_maps_have_their_shapes_and_ranges(reader, images):
    maps = reader.compute_maps(images[0])

    assert tuple(maps.heatmaps) == reader.layers
    for layer, heatmaps in maps.heatmaps.items():
        assert len(heatmaps) == len(reader.models.classes)
        assert (heatmaps >= 0).all()
        upsampled = reader.draw_heatmaps(images[:1], ["viral"], layer=layer)
        assert upsampled.shape == (1, 128, 128)
        assert upsampled.min() >= 0 and upsampled.max() in (0, pytest.approx(1))
    assert maps.anomaly_map.shape == (128, 128)
    assert 0 <= maps.anomaly_map.min() < maps.anomaly_map.max() <= 1
    low, high = reader.models.references.coordinates.min(axis=0), reader.models.references.coordinates.max(axis=0)
    assert (maps.position >= low).all() and (maps.position <= high).all()


def test_shipped_models_are_small_and_have_cards():
    total = sum(path.stat().st_size for path in SHIPPED_DIR.rglob("*") if path.is_file())

    assert total < 25e6
    for part in PARTS:
        card = json.loads((SHIPPED_DIR / part / "card.json").read_text())
        assert "Research use only" in card["notice"]
        assert "CC BY 4.0" in card["data"]["license"]
        assert "Research use only" in (SHIPPED_DIR / part / "README.md").read_text()


@pytest.mark.parametrize("part", PARTS)
def test_a_card_keeps_its_json_form(part):
    text = (SHIPPED_DIR / part / "card.json").read_text()
    expected = json.loads(text)
    for name in ("backbone", "weights"):  # null, which is left out
        expected.get("settings", {}).pop(name, None)

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
        ({"card_version": 99}, "is version 99"),
        ({"card_version": 1}, "is version 1 .* Export the models again"),
        ({"kind": "anomaly"}, "of kind 'anomaly'"),
        ({"kind": []}, "of kind"),
        ({"files": {"../../etc/passwd": "0"}}, "files in the same folder only"),
        ({"files": None}, "is damaged .files: Input should be an object, not None"),
        ({"seed": "0"}, "is damaged .seed: Input should be a valid integer, not 0"),
        ({"calibration": {}}, "is damaged .calibration.method: Field required"),
        ({"classes": ["a", "b"]}, "calibration.fitted has 4 values; expected 3 for 2 classes"),
        ({"settings": {"epochs": 0}}, "epochs 0"),
        ({"graph": {"answers_file": "other.onnx"}}, "names the graph 'other.onnx'"),
    ],
)
def test_a_changed_card_is_an_error(copied, changes, message):
    path = copied / "classifier" / "card.json"
    card = json.loads(path.read_text())
    changes = {"graph": {**card["graph"], **changes["graph"]}} if "graph" in changes else changes
    path.write_text(json.dumps({**card, **changes}))

    with pytest.raises(ModelError, match=message):
        load_model_set(copied)
