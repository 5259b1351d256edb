"""Benchmarks of methods, kept in a study and shown in its report."""

import json
import shutil
from functools import partial

import pytest
from typer.testing import CliRunner

from pneumoscope.benchmark import run_benchmark, run_explain_benchmark
from pneumoscope.cli.main import app
from pneumoscope.comparison import DetectorComparison, MethodTable
from pneumoscope.errors import PneumoscopeError
from pneumoscope.results import Estimate

TABLE = MethodTable(
    {"slow": {"auroc": Estimate(0.75, 0.7, 0.8, 45)}, "fast": {"seconds": Estimate(0.1, 0.1, 0.1, 45)}},
    {"slow": "It was tired."},
)


def test_a_remark_on_a_method_without_figures_is_refused():
    with pytest.raises(ValueError, match="remarks are of gone, expected methods that have figures"):
        MethodTable({"here": {}}, {"gone": "Nothing to say."})


def test_a_benchmark_becomes_part_of_the_study_and_of_its_report(finished_study, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(finished_study, study)
    seen = []

    def compute(dataset, seed):
        seen.append((len(dataset), seed))
        return DetectorComparison(TABLE)

    for _ in range(2):
        assert run_benchmark(study, "best", "anomaly", compute) == TABLE

    assert seen == [(165, 0), (165, 0)]
    told = json.loads((study / "results.json").read_text())["benchmarks"]["anomaly"]["best"]
    assert told["figures"]["slow"]["auroc"] == {"value": 0.75, "low": 0.7, "high": 0.8, "n": 45}
    page = (study / "report.html").read_text()
    assert "Methods side by side, best recipe" in page and "It was tired." in page and "0.750" in page


def test_the_anomaly_benchmark_is_one_command(finished_study, tmp_path, monkeypatch):
    from pneumoscope.tasks.anomaly import benchmark

    calls = []

    def benchmark_anomaly(dataset, out_dir, **options):
        calls.append(options)
        return TABLE

    monkeypatch.setattr(benchmark, "benchmark_anomaly", benchmark_anomaly)
    study = tmp_path / "study"
    shutil.copytree(finished_study, study)
    words = ["anomaly", "--benchmark", "--study", str(study), "--epochs", "2", "--json"]
    done = CliRunner().invoke(app, [*words, "--weights", str(tmp_path / "net.h5")])

    assert done.exit_code == 0, done.output
    assert calls == [{"weights": tmp_path / "net.h5", "epochs": 2, "num_seeds": 1, "seed": 0}]
    assert set(json.loads(done.stdout)["methods"]) == {"slow", "fast"}


def test_figures_of_others_stand_below_the_methods():
    from pneumoscope.report.published import list_published

    told = list_published("anomaly", ["auroc", "accuracy", "f1"])
    assert told["SQUID"] == {"auroc": 0.876, "accuracy": 0.803, "f1": 0.847}
    assert told["The paper"]["accuracy"] == 0.668


def test_methods_of_explanation_stand_in_the_report_each_with_a_verdict(finished_study, tmp_path, monkeypatch):
    from pneumoscope.tasks.explain import benchmark

    few = partial(benchmark.benchmark_explanations, methods=("hirescam", "guided_backprop"), num_images=4)
    monkeypatch.setattr(benchmark, "benchmark_explanations", few)
    study = tmp_path / "study"
    shutil.copytree(finished_study, study)

    with pytest.raises(PneumoscopeError, match="'conv_9' is not in the model"):
        run_explain_benchmark(study, "best", layer="conv_9")
    table = run_explain_benchmark(study, "best")

    assert tuple(table.figures) == ("hirescam", "guided_backprop", "edges")
    page = (study / "report.html").read_text()
    assert table.remarks["hirescam"].startswith("This map ")
    assert "it shows the film and not the net" in page
    drawn = {path.name for path in (study / "figures").iterdir()}
    assert {"best-explain-claim.png", "best-explain-probes.png"} <= drawn
