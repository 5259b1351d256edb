import copy
import json
import math
import re
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from pneumoscope.io.results import Estimate
from pneumoscope.report.comparison import read_estimate
from pneumoscope.study.summary import summarize_study


@pytest.fixture(scope="module")
def schema():
    return json.loads(files("pneumoscope.study").joinpath("results.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results(stages, facts):
    return summarize_study(stages, **facts)


@pytest.fixture
def check(schema):
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate


def test_a_study_follows_the_schema(schema, results, check):
    jsonschema.Draft202012Validator.check_schema(schema)
    check(json.loads(json.dumps(results, allow_nan=False)))
    assert list(results["tasks"]) == ["binary", "multiclass", "neighbors", "anomaly", "explain"]
    assert all(list(entries) == ["reference", "improved"] for entries in results["tasks"].values())


@pytest.mark.parametrize(
    ("kept", "tasks"),
    [
        ((), []),
        (("improved-binary",), ["binary"]),
        (("reference-neighbors_multiclass",), ["neighbors"]),
        (("improved-explain", "audit"), ["explain"]),
        (("reference-anomaly", "reference-map_binary"), ["anomaly"]),
    ],
)
def test_a_part_of_a_study_follows_the_schema(stages, facts, check, kept, tasks):
    part = summarize_study({name: stages[name] for name in kept}, **facts)
    check(part)
    assert list(part["tasks"]) == tasks


def test_every_metric_is_in_the_results(stages, results):
    metrics = results["tasks"]["binary"]["improved"]["metrics"]
    expected = stages["improved-binary"].evaluations["test"].metrics
    assert {name: read_estimate(entry) for name, entry in metrics.items()} == expected
    validation = results["tasks"]["binary"]["improved"]["validation"]
    assert validation["accuracy"]["value"] == stages["improved-binary"].evaluations["val"].metrics["accuracy"].value


def test_neighbors_hold_both_classifiers_and_their_agreement(stages, results):
    metrics = results["tasks"]["neighbors"]["improved"]["metrics"]
    for stage, suffix in (("binary", ""), ("multiclass", "_multiclass")):
        expected = stages[f"improved-neighbors_{stage}"]
        assert metrics[f"accuracy{suffix}"]["value"] == expected.evaluations["test"].metrics["accuracy"].value
        assert metrics[f"agreement{suffix}"]["value"] == expected.agreement.value
        assert results["tasks"]["neighbors"]["improved"][f"k{suffix}"] == expected.k
    assert results["tasks"]["neighbors"]["improved"]["parameters"] == 3_404_674


def test_undefined_metrics_are_null(stages, facts, check):
    unknown = Estimate(math.nan, math.nan, math.inf, 0)
    stages = {"improved-explain": copy.copy(stages["improved-explain"])}
    object.__setattr__(stages["improved-explain"], "metrics", {"centrality_negative": unknown})
    results = summarize_study(stages, **facts)
    entry = results["tasks"]["explain"]["improved"]["metrics"]["centrality_negative"]
    assert entry == {"value": None, "low": None, "high": None, "n": 0}
    assert "NaN" not in json.dumps(results, allow_nan=False)
    check(results)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), "1.1"),
        (("research_use_only",), "For diagnosis"),
        (("data", "phantoms"), "no"),
        (("data", "counts"), {"train/normal": -1}),
        (("tasks", "binary", "improved", "parameters"), 1.5),
        (("tasks", "binary", "improved", "metrics", "accuracy"), 0.9),
        (("tasks", "anomaly", "improved", "false_positive_rate"), 1.5),
        (("tasks", "neighbors", "improved", "k"), 0),
        (("timing",), {"load": 1.0}),
    ],
)
def test_the_schema_refuses_wrong_values(results, check, path, value):
    wrong = copy.deepcopy(results)
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


def test_every_field_is_documented(results):
    text = (Path(__file__).parents[2] / "docs" / "reference" / "results_json.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([a-z0-9_]+)`", text))
    for entries in results["tasks"].values():
        fields_found = {key for entry in entries.values() for key in entry}
        assert {key.removesuffix("_multiclass") for key in fields_found} <= documented
    assert set(results) <= documented
    assert {field.name for field in fields(Estimate)} <= set(re.findall(r'"([a-z]+)"', text))
