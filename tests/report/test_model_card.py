"""A model's card: what is known is on it, what is not is left out, and where it fails is said."""

import json

import pytest

from pneumoscope.reading.model_set import PARTS, SHIPPED_DIR
from pneumoscope.report.model_card import write_model_card


@pytest.fixture(scope="module")
def card():
    return json.loads((SHIPPED_DIR / "classifier" / "card.json").read_text())


@pytest.fixture
def write(tmp_path):
    def write(card):
        write_model_card(card, tmp_path / "README.md")
        return (tmp_path / "README.md").read_text()

    return write


@pytest.mark.parametrize("part", PARTS)
def test_the_cards_that_ship_are_those_of_this_version(part, write):
    folder = SHIPPED_DIR / part

    assert write(json.loads((folder / "card.json").read_text())) == (folder / "README.md").read_text()


def percent(figure):
    return " ".join([f"{100 * figure['value']:.1f}%", f"[{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"])


def test_figures_of_each_split_stand_side_by_side_with_the_command(card, write):
    figures = {split: card["figures"][split] for split in ("val", "test")}
    text = write({**card, "figures": figures})

    found = [percent(figures[split]["normal_or_pneumonia"]["accuracy_balanced"]) for split in figures]
    assert "| | validation, n = 749 | test, n = 319 |" in text
    assert f"| at `balanced`: accuracy | {found[0]} | {found[1]} |" in text
    assert "From `pneumoscope export`" in text and "`pneumoscope evaluate --data DATA --out DIR`" in text


def test_series_held_out_get_a_column(card, write):
    figures = {**card["figures"], "held_out": card["figures"]["val"]}

    assert "| | validation, n = 749 | series held out, n = 749 | test, n = 319 |" in write({**card, "figures": figures})


def test_a_specificity_that_falls_is_a_limit(card, write):
    alarms = card["figures"]["val"]["normal_or_pneumonia"]["flagged_normal_balanced"]["value"]
    assert f"clears {100 * (1 - alarms):.1f}% of the normals of validation, but" in write(card)
    same = {**card["figures"], "test": card["figures"]["val"]}
    assert "of the normals of validation" not in write({**card, "figures": same})


def test_sets_are_told_where_there_are_any(card, write):
    without = {name: value for name, value in card.items() if name != "conformal"}
    text = write({**card, "conformal": {"coverage": 0.9, "limit": 0.8, "method": "split conformal"}})

    assert "hold the true one in 90 % of such images: each class with a probability of\n  0.200 or more" in text
    assert "hold the true one" not in write(without)


def test_the_spread_of_seeds_is_told(card, write):
    spread = {"mean": 0.91, "sd": 0.012, "values": [0.9, 0.92]}
    text = write({**card, "seeds": {"seeds": [7, 8], "test": {"normal_or_pneumonia/accuracy_balanced": spread}}})

    assert "differ in their seed (7, 8) on test: normal or pneumonia: Accuracy 91.0%, sd 1.2%" in text


def test_how_far_subtypes_are_told_by_how_films_were_made_is_said(card, write):
    figure = {"value": 0.49, "low": 0.45, "high": 0.53, "n": 40}
    measured = {"images": 100, "inside": 31, "verdict": "Not everywhere.", "figures": {"nets_inside": figure}}
    without = {name: value for name, value in card.items() if name != "subtypes"}

    text = write({**card, "subtypes": measured})
    assert "Not everywhere.\n\nAUROC of bacterial against viral" in text
    assert "- nets that had not seen the patient, in these stretches: 0.490 [0.450, 0.530]" in text
    text = write({**card, "subtypes": {**measured, "inside": 0, "verdict": ""}})
    assert "No stretch of file names contradicts the labels of 100 pneumonias" in text
    assert "## Bacterial or viral" not in write(without)


def test_counts_by_split_and_class_are_a_table(card, write):
    counts = {"images": 30, "patients": 12, "normal": 10, "bacterial": 15, "viral": 5}
    text = write({**card, "data": {**card["data"], "splits": {"train": counts, "test": counts}}})

    assert (
        "| | images | patients | normal | bacterial | viral |\n|---|---|---|---|---|---|\n| train | 30 | 12 |" in text
    )


def test_of_other_data_no_more_is_said_than_is_known(card, write):
    text = write({**card, "data": {**card["data"], "license": "our own"}})

    assert "License of the data: our own" in text
    assert "Guangzhou" not in text and "children" not in text


def test_a_card_that_knows_little_is_still_one(card, write):
    little = {name: card[name] for name in ("notice", "kind", "classes")}
    text = write(little)

    assert "Research use only" in text and "## Limits" in text
    for heading in ("## Figures", "## Data", "## Training", "## What was chosen"):
        assert heading not in text
