"""Benchmarks of methods, kept in a study and shown in its report."""

import json
import shutil
from dataclasses import dataclass

import pytest

from pneumoscope.benchmark import run_benchmark
from pneumoscope.comparison import MethodTable
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
