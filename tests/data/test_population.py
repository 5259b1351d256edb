"""Population of a data set: measured columns, statements of known sets, and unknown properties."""

import json
from dataclasses import fields

import pandas as pd
import pytest

from pneumoscope.data.collection import scan_collection
from pneumoscope.data.known_sets import KNOWN_SETS
from pneumoscope.data.population import UNKNOWN, Population, describe_population
from pneumoscope.inference.cards import ClassifierCard
from pneumoscope.inference.model_set import SHIPPED_DIR
from pneumoscope.io.json_file import parse_json, to_plain
from pneumoscope.phantoms.phantom import draw_phantoms

NIH = "NIH ChestX-ray14, Wang 2017"


def test_columns_are_measured_and_known_sets_state_the_rest():
    table = pd.DataFrame({"age": ["7", "58", "", "414"], "sex": ["F", "M", "M", ""], "view": ["PA", "AP", "PA", "PA"]})
    population = describe_population(table, "nih")
    assert population.age.text == "7 to 58, median 32.5"  # 414 is an error of the table
    assert population.age.values == {"minimum": 7, "median": 32.5, "maximum": 58}
    assert (population.sex.text, population.sex.source) == ("F 1, M 2", "table or DICOM headers, 3 of 4 images")
    assert population.view.values == {"AP": 1, "PA": 3}
    assert population.institution.text.startswith("NIH Clinical Center")
    assert population.institution.source.startswith(NIH)


def test_implausible_ages_are_reported(caplog):
    caplog.set_level("WARNING", "pneumoscope")
    assert describe_population(pd.DataFrame({"age": ["414", "200"]})).age.text == UNKNOWN
    assert "the age of 2 images is above 120 years" in caplog.text


def test_nothing_is_stated_of_an_unknown_set():
    table = pd.DataFrame({"age": ["", ""], "sex": ["", ""]})
    assert {statement.text for statement in vars(describe_population(table)).values()} == {UNKNOWN}
    assert str(Population()).startswith("age unknown; sex unknown; view unknown")


@pytest.mark.parametrize("known", KNOWN_SETS, ids=lambda known: known.name)
def test_known_sets_state_properties_of_a_population(known):
    assert known.population.keys() <= {field.name for field in fields(Population)}
    assert {"body_part", "institution"} <= known.population.keys()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("NORMAL/IM-0115-0001.jpeg", "PNEUMONIA/person1_bacteria_1.jpeg"), "kermany"),
        (("NORMAL/IM-0115-0001.jpeg", "PNEUMONIA/scan.jpeg"), ""),
        (("normal/a.jpeg", "pneumonia/b.jpeg"), ""),
    ],
)
def test_collection_of_kermany_is_known_by_all_of_its_names(tmp_path, names, expected):
    from PIL import Image

    for name, pixels in zip(names, draw_phantoms(len(names), size=32, seed=0).images, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    assert scan_collection(tmp_path).known_set == expected


def test_card_without_population_loads_as_unknown():
    card = json.loads((SHIPPED_DIR / "classifier" / "card.json").read_text(encoding="utf-8"))
    population = card.pop("population")
    assert parse_json(ClassifierCard, json.dumps(card)).population == Population()
    restored = parse_json(ClassifierCard, json.dumps(card | {"population": population}))
    assert restored.population.age.text == "1 to 5 years"
    assert to_plain(restored.population) == population
