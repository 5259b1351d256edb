"""Published results: every number states its protocol, and the documentation shows the numbers of the code."""

from pathlib import Path

import pytest

from pneumoscope.report.published import PUBLICATIONS, REFERENCE, TEST_IMAGES, best_published, write_published_table

PERFORMANCE = Path(__file__).parents[2] / "docs" / "results" / "performance.md"


def test_documentation_shows_the_numbers_of_the_code():
    assert write_published_table() in PERFORMANCE.read_text(encoding="utf-8")


@pytest.mark.parametrize("publication", PUBLICATIONS, ids=lambda publication: publication.key)
def test_every_publication_states_protocol_source_and_numbers(publication):
    assert publication.protocol
    assert publication.url.startswith("https://")
    values = [value for metrics in publication.metrics.values() for value in metrics.values()]
    assert values
    assert all(0.5 < value < 1 for value in values)
    assert ("not checked" in publication.protocol) == (not publication.checked)


def test_models_chosen_on_the_test_set_are_listed_but_never_the_best():
    chosen_on_test = [one for one in PUBLICATIONS if not one.comparable]
    assert {one.name for one in chosen_on_test} == {"MedViTV2-T", "MedViTV2-L"}
    assert all("chosen on the test set" in one.protocol for one in chosen_on_test)
    assert best_published("binary", "accuracy")[0].name == "ConvNeXt-V2-Tiny"
    assert best_published("anomaly", "auroc")[1] == 0.967
    assert best_published("explain", "accuracy") is None


def test_keys_are_unique_and_accuracies_are_numbers_of_images():
    keys = [one.key for one in PUBLICATIONS]
    assert len(keys) == len(set(keys))
    accuracies = {
        one.name: one.metrics["multiclass"].get("accuracy") for one in PUBLICATIONS if "multiclass" in one.metrics
    }
    assert round(accuracies["ConvNeXt-V2-Tiny"] * TEST_IMAGES) == 570
    assert round(accuracies["DINOv2-S"], 3) == 0.856
    assert REFERENCE["binary"]["accuracy"] < accuracies["DINOv2-S"]
