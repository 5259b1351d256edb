"""Research commands print a table, and write it as JSON and CSV."""

import json
from functools import partial

import pandas as pd
import pytest
from typer.testing import CliRunner

from pneumoscope.cli.main import app
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.results import Estimate, MethodTable
from pneumoscope.research.run import run_explain_benchmark


def read_csv(path):
    assert path.read_text().startswith("# Research use only")
    return pd.read_csv(path, comment="#")


def test_a_remark_on_an_unknown_method_is_an_error():
    with pytest.raises(ValueError, match="remarks name gone; expected methods that have metrics"):
        MethodTable({"here": {}}, {"gone": "Nothing to say."})


def test_anomaly_detectors_are_compared_by_one_command(finished_study, tmp_path, monkeypatch):
    table = MethodTable({"dark": {"auroc": Estimate(0.75, 0.7, 0.8, 45)}}, {"dark": "Dark is anomalous."})
    calls = []

    def benchmark_anomaly(dataset, out_dir, **options):
        calls.append((out_dir, options))
        return table

    monkeypatch.setattr("pneumoscope.research.anomaly_benchmark.benchmark_anomaly", benchmark_anomaly)
    arguments = ["research", "anomaly", str(finished_study), "--out", str(tmp_path), "--epochs", "2"]
    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0, result.output
    options = {"epochs": 2, "seed": 0}
    assert calls == [(tmp_path / "detectors", options)]
    assert "dark: Dark is anomalous." in result.stdout
    content = json.loads((tmp_path / "anomaly.json").read_text())
    (row,) = read_csv(tmp_path / "anomaly.csv").to_dict("records")
    assert (row["method"], row["metric"]) == ("dark", "auroc")
    assert {name: row[name] for name in ("value", "low", "high", "n")} == content["methods"]["dark"]["auroc"]


def test_explanation_methods_are_written_with_verdicts(finished_study, tmp_path, monkeypatch):
    from pneumoscope.research import explain_benchmark as benchmark

    few = partial(benchmark.benchmark_explanations, methods=("hirescam", "guided_backprop"), num_images=4)
    monkeypatch.setattr(benchmark, "benchmark_explanations", few)

    with pytest.raises(PneumoscopeError, match="'conv_9' does not exist"):
        run_explain_benchmark(finished_study, "improved", tmp_path, layer="conv_9")
    table = run_explain_benchmark(finished_study, "improved", tmp_path)

    assert tuple(table.metrics) == ("hirescam", "guided_backprop", "edges")
    content = json.loads((tmp_path / "explain.json").read_text())
    assert "parameter-randomization check" in content["remarks"]["hirescam"]
    assert content["remarks"]["edges"].startswith("Fails the parameter-randomization check")
    assert content["layer"] and content["metrics"] == content["methods"]["hirescam"]
