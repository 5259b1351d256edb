"""The model cards for people: measured metrics are on them, missing ones are left out, limitations are named."""

from dataclasses import fields, replace

import pytest

from pneumoscope.data.population import Population
from pneumoscope.inference.cards import PARTS, ExportedModel
from pneumoscope.inference.model_set import SHIPPED_DIR, load_cards
from pneumoscope.io.results import Estimate
from pneumoscope.io.results.calibration import ConformalLimit, SeedComparison, SplitMetrics, Spread
from pneumoscope.labels import LabelSet
from pneumoscope.report.model_card import write_model_card
from pneumoscope.report.wording import format_estimate


@pytest.fixture(scope="module")
def card():
    return load_cards(SHIPPED_DIR).classifier


@pytest.fixture
def write(tmp_path):
    def write(card):
        write_model_card(card, tmp_path / "README.md")
        return (tmp_path / "README.md").read_text()

    return write


@pytest.mark.parametrize("part", PARTS)
def test_the_shipped_cards_are_those_of_this_version(part, write):
    assert write(getattr(load_cards(SHIPPED_DIR), part)) == (SHIPPED_DIR / part / "README.md").read_text()


def test_metrics_of_each_split_stand_side_by_side_with_the_command(card, write):
    metrics = {split: card.metrics[split] for split in ("val", "test")}
    text = write(replace(card, metrics=metrics))

    cells = [format_estimate("accuracy", part.positive["accuracy_balanced"]) for part in metrics.values()]
    assert "| | validation, n = 749 | test, n = 319 |" in text
    assert f"| at `balanced`: accuracy | {cells[0]} | {cells[1]} |" in text
    for command in ("export", "evaluate DATA --model READER --out DIR"):
        assert f"`pneumoscope {command}`" in text


def test_a_drop_of_specificity_is_a_limitation(card, write):
    false_positives = card.metrics["val"].positive["false_positive_rate_balanced"].value
    limitation = f"the specificity is {100 * (1 - false_positives):.1f}% on validation and"

    assert limitation in write(card)
    same = {**card.metrics, "test": card.metrics["val"]}
    assert "% on validation and" not in write(replace(card, metrics=same))


def test_conformal_sets_and_the_spread_over_seeds_are_described(card, write):
    conformal = ConformalLimit("split conformal", coverage=0.9, fitted_on="validation", limit=0.8)
    seeds = SeedComparison((7, 8), {"positive/accuracy_balanced": Spread(0.91, 0.012, (0.9, 0.92))})

    text = write(replace(card, conformal=conformal, seeds=seeds))
    assert "a coverage of 90%: a prediction set contains\n  each class with a probability of 0.200 or more" in text
    assert "2 models with different seeds (7, 8), test:\n\n- normal or pneumonia: Accuracy 91.0%, sd 1.2%" in text
    text = write(replace(card, conformal=None, seeds=None))
    assert "Conformal prediction" not in text and "different seeds" not in text


def test_other_data_are_not_described_as_the_shipped_collection(card, write):
    text = write(replace(card, data=replace(card.data, license="our own"), population=Population()))

    assert "License: our own" in text
    assert "Guangzhou" not in text and "children" not in text


def test_one_exported_model_has_a_shorter_card(card, write):
    model = ExportedModel(**{field.name: getattr(card, field.name) for field in fields(ExportedModel)})
    text = write(model)

    assert "Research use only" in text and "## Training" in text and "## Limitations" in text
    for heading in ("## Performance", "## Data", "## Calibration"):
        assert heading not in text


def test_a_model_of_findings_states_its_parts_and_thresholds(card, write):
    labels = LabelSet(("Mass", "Edema"), "No Finding", multi_label=True)
    point, metrics = card.operating_points["balanced"]["pneumonia"], {"auroc": Estimate(0.8, 0.7, 0.9, 50)}
    text = write(
        replace(
            card,
            label_set=labels,
            calibration=replace(card.calibration, fitted=(1.0, 1.0, 0.0, 0.0), frequencies=()),
            operating_points={"balanced": {"Mass": point, "Edema": point}},
            metrics={"test": SplitMetrics(metrics, {})},
            seeds=None,
            data=None,
            missing={"anomaly": "no negative images"},
        )
    )

    assert "- anomaly: no negative images" in text
    assert f"| balanced | Edema | {point.threshold:.3f} |" in text
    assert "| 2 findings: AUROC | 0.800 [0.700, 0.900] |" in text
    for absent in ("## Data", "pneumonia", "Kermany"):
        assert absent not in text
