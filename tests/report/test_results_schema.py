import copy
import json
import math
import re
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from pneumoscope.io.results import Estimate
from pneumoscope.report.comparison import read_estimate
from pneumoscope.study.summary import summarize_study


@pytest.fixture(scope="module")
def check():
    schema = json.loads(files("pneumoscope.study").joinpath("results.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate


@pytest.fixture(scope="module")
def results(stages, facts):
    return summarize_study(stages, **facts)


@pytest.mark.parametrize(
    ("kept", "tasks"),
    [
        (None, ["binary", "multiclass", "neighbors", "anomaly", "explain"]),
        ((), []),
        (("improved-binary",), ["binary"]),
        (("reference-neighbors_multiclass",), ["neighbors"]),
        (("improved-explain", "audit"), ["explain"]),
        (("reference-anomaly", "reference-map_binary"), ["anomaly"]),
    ],
)
def test_a_study_and_its_parts_follow_the_schema(stages, facts, check, kept, tasks):
    part = summarize_study(stages if kept is None else {name: stages[name] for name in kept}, **facts)
    check(json.loads(json.dumps(part, allow_nan=False)))
    assert list(part["tasks"]) == tasks
    if kept is None:
        assert all(list(entries) == ["reference", "improved"] for entries in part["tasks"].values())


def test_every_metric_is_in_the_results(stages, results):
    entry = results["tasks"]["binary"]["improved"]
    for part, split in (("metrics", "test"), ("validation", "val")):
        expected = stages["improved-binary"].evaluations[split].metrics
        assert {name: read_estimate(value) for name, value in entry[part].items()} == expected


def test_neighbors_hold_both_classifiers_and_their_agreement(stages, results):
    entry = results["tasks"]["neighbors"]["improved"]
    for stage, suffix in (("binary", ""), ("multiclass", "_multiclass")):
        expected = stages[f"improved-neighbors_{stage}"]
        accuracy = expected.evaluations["test"].metrics["accuracy"]
        assert read_estimate(entry["metrics"][f"accuracy{suffix}"]) == accuracy
        assert entry["metrics"][f"agreement{suffix}"]["value"] == expected.agreement.value
        assert entry[f"k{suffix}"] == expected.k
    assert entry["parameters"] == 3_404_674


def test_undefined_metrics_are_null(stages, facts, check):
    unknown = Estimate(math.nan, math.nan, math.inf, 0)
    explanation = replace(stages["improved-explain"], metrics={"centrality_negative": unknown})
    results = json.loads(json.dumps(summarize_study({"improved-explain": explanation}, **facts), allow_nan=False))
    entry = results["tasks"]["explain"]["improved"]["metrics"]["centrality_negative"]
    assert entry == {"value": None, "low": None, "high": None, "n": 0}
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
