"""The reader on the models that ship: answers, doubts, refusals, and models that are not what they say."""

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
def films():
    return draw_phantoms(12, size=128, seed=4).images


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(SHIPPED_DIR, tmp_path / "models")


def test_an_answer_fills_every_column(reader, films):
    rows = [reading.to_row() for reading in reader.read(films, [f"{number}.png" for number in range(12)])]

    assert all(tuple(row) == COLUMNS for row in rows)
    assert json.loads(json.dumps(rows)) == rows
    answered = [row for row in rows if row["decision"] != "refused"]
    assert len(answered) >= 6
    for row in answered:
        assert row["p_normal"] + row["p_bacterial"] + row["p_viral"] == pytest.approx(1, abs=2e-4)
        assert row["p_pneumonia"] == pytest.approx(row["p_bacterial"] + row["p_viral"], abs=2e-4)
        assert len(row["neighbors"]) == 5
        assert 0 <= row["anomaly_percentile"] <= 100


def test_intervals_hold_the_probability(reader, films):
    for reading in reader.read(films, ["x"] * len(films)):
        for name in reading.probabilities:
            low, high = reading.intervals[name]
            assert 0 <= low <= reading.probabilities[name] <= high <= 1
        assert set(reading.probabilities) in (set(), set(SCORED))


def test_the_batch_does_not_matter(reader, films):
    together = reader.read(films, ["x"] * len(films))
    alone = [reader.read(film[None], ["x"])[0] for film in films]

    for one, other in zip(together, alone, strict=True):
        assert one.decision == other.decision
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_the_threshold_decides(reader, films):
    readings = reader.read(films, ["x"] * len(films), operating_point="0.0001")

    assert {reading.decision for reading in readings} <= {"pneumonia", "not sure", "refused"}
    assert {reading.operating_point for reading in readings} == {"0.0001"}


def test_screening_calls_pneumonia_no_less_often_than_specific(reader):
    assert reader.threshold("screening") <= reader.threshold("balanced") <= reader.threshold("specific")


@pytest.mark.parametrize("point", ["0", "1", "1.5", "nan", "high", ""])
def test_an_unknown_operating_point_is_an_error(reader, point):
    with pytest.raises(PneumoscopeError, match="expected screening, balanced, specific, or a number"):
        reader.threshold(point)


def test_an_objection_of_the_file_refuses_it_before_any_score(reader, films):
    (reading,) = reader.read(films[:1], ["x"], objections=[["This is a lateral view."]])

    assert reading.decision == "refused"
    assert "lateral" in reading.reason
    assert reading.probabilities == {}
    assert reading.to_row()["p_pneumonia"] is None


def test_a_turned_film_is_refused(reader, films):
    readings = reader.read(np.rot90(films, 1, (1, 2)), ["x"] * len(films))

    assert np.mean([reading.decision == "refused" for reading in readings]) > 0.8


def test_a_known_image_is_not_its_own_neighbor(reader, films):
    known = reader.models.known
    readings = reader.read(films, ["x"] * len(films))
    number = next(number for number, reading in enumerate(readings) if reading.neighbors)
    nearest = readings[number].neighbors[0]
    (again,) = reader.read(films[number][None], [f"elsewhere/{nearest.name.rsplit('/', 1)[-1]}"])

    same = {str(other) for other in known.names[known.patients == known.patients[nearest.index]]}
    assert nearest.name in same
    assert same.isdisjoint(case.name for case in again.neighbors)


def test_neighbors_are_the_nearest(reader, films):
    reading = next(one for one in reader.read(films, ["x"] * len(films)) if one.neighbors)
    distances = [case.distance for case in reading.neighbors]

    assert distances == sorted(distances)
    for case in reading.neighbors:
        assert str(reader.models.known.names[case.index]) == case.name


def test_the_look_goes_with_the_reading(reader, films):
    look = reader.look(films[0])

    assert tuple(look.heatmaps) == reader.layers
    for layer, maps in look.heatmaps.items():
        assert maps.shape[0] == len(reader.models.classes)
        assert (maps >= 0).all()
        drawn = reader.draw_heatmaps(films[:1], ["viral"], layer=layer)
        assert drawn.shape == (1, 128, 128)
        assert drawn.min() >= 0 and drawn.max() in (0, pytest.approx(1))
    assert look.anomaly_map.shape == (128, 128)
    assert 0 <= look.anomaly_map.min() < look.anomaly_map.max() <= 1
    low, high = reader.models.known.coordinates.min(axis=0), reader.models.known.coordinates.max(axis=0)
    assert (look.position >= low).all() and (look.position <= high).all()


def test_what_ships_is_small_and_says_what_it_is():
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
    ("harm", "told"),
    [
        (lambda folder: (folder / "classifier" / "card.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "anomaly" / "card.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "anomaly" / "card.json").write_text("[]"), "is version None"),
        (lambda folder: (folder / "known" / "known.npz").unlink(), "is missing"),
        (lambda folder: (folder / "known" / "known.npz").write_bytes(b"x"), "is not the file that card.json describes"),
        (lambda folder: change_card(folder, card_version=99), "is version 99"),
        (lambda folder: change_card(folder, card_version=1), "is version 1 .* Export the models again"),
        (lambda folder: change_card(folder, kind="anomaly"), "of kind 'anomaly'"),
        (lambda folder: change_card(folder, files={"../../etc/passwd": "0"}), "files of its own folder only"),
        (lambda folder: change_card(folder, kind=[]), "of kind"),
        (lambda folder: change_card(folder, files=None), "is damaged .files: Input should be an object, not None"),
        (lambda folder: change_card(folder, seed="0"), "is damaged .seed: Input should be a valid integer, not 0"),
        (lambda folder: change_card(folder, calibration={}), "is damaged .calibration.method: Field required"),
        (lambda folder: change_card(folder, classes=["a", "b"]), "calibration.fitted is not of 2 classes"),
        (lambda folder: change_card(folder, settings={"epochs": 0}), "epochs 0"),
        (lambda folder: change_graph(folder, answers_file="other.onnx"), "names the graph 'other.onnx'"),
    ],
    ids=[
        *("no-card", "torn-card", "list-card", "missing", "changed", "version", "older", "kind", "traversal"),
        *("kind-list", "no-files", "text-seed", "no-calibration", "classes", "settings", "graph"),
    ],
)
def test_models_that_are_not_what_they_say_are_refused(copied, harm, told):
    harm(copied)

    with pytest.raises(ModelError, match=told):
        load_model_set(copied)


def change_graph(folder, **changes):
    card = json.loads((folder / "classifier" / "card.json").read_text())
    change_card(folder, graph={**card["graph"], **changes})


def change_card(folder, **changes):
    path = folder / "classifier" / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
