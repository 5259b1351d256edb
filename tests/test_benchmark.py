"""Benchmarks of methods, kept in a study and shown in its report."""

import json
import shutil
from dataclasses import dataclass
from functools import partial

import pytest

from pneumoscope.benchmark import benchmark_explain, run_benchmark
from pneumoscope.comparison import MethodTable
from pneumoscope.errors import PneumoscopeError
from pneumoscope.results import Estimate

TABLE = MethodTable(
    {"slow": {"auroc": Estimate(0.75, 0.7, 0.8, 45)}, "fast": {"seconds": Estimate(0.1, 0.1, 0.1, 45)}},
    {"slow": "It was tired."},
)


def test_a_remark_on_a_method_without_figures_is_refused():
    with pytest.raises(ValueError, match="remarks are of gone, expected methods that have figures"):
        MethodTable({"here": {}}, {"gone": "Nothing to say."})


def test_a_benchmark_becomes_part_of_the_study_and_of_its_report(finished_study, tmp_path, monkeypatch):
    import pneumoscope.archive

    @dataclass(frozen=True)
    class Found:
        table: MethodTable

    monkeypatch.setitem(pneumoscope.archive._KINDS, "Found", Found)
    study = tmp_path / "study"
    shutil.copytree(finished_study, study)
    seen = []

    def compute(dataset, seed):
        seen.append((len(dataset), seed))
        return Found(TABLE)

    for _ in range(2):
        assert run_benchmark(study, "best", "anomaly", compute) == TABLE

    assert seen == [(165, 0), (165, 0)]
    told = json.loads((study / "results.json").read_text())["benchmarks"]["anomaly"]["best"]
    assert told["figures"]["slow"]["auroc"] == {"value": 0.75, "low": 0.7, "high": 0.8, "n": 45}
    page = (study / "report.html").read_text()
    assert "Methods side by side, best recipe" in page and "It was tired." in page and "0.750" in page


def test_methods_of_explanation_stand_in_the_report_each_with_a_verdict(finished_study, tmp_path, monkeypatch):
    from pneumoscope.tasks.explain import benchmark

    few = partial(benchmark.benchmark_explanations, methods=("hirescam", "guided_backprop"), num_images=4)
    monkeypatch.setattr(benchmark, "benchmark_explanations", few)
    study = tmp_path / "study"
    shutil.copytree(finished_study, study)

    with pytest.raises(PneumoscopeError, match="'conv_9' is not in the model"):
        benchmark_explain(study, "best", layer="conv_9")
    table = benchmark_explain(study, "best")

    assert tuple(table.figures) == ("hirescam", "guided_backprop", "edges")
    page = (study / "report.html").read_text()
    assert table.remarks["hirescam"].startswith("This map ")
    assert "it shows the film and not the net" in page
    drawn = {path.name for path in (study / "figures").iterdir()}
    assert {"best-explain-claim.png", "best-explain-probes.png"} <= drawn
