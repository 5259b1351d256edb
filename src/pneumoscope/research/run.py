"""Run the benchmarks on a study, and write NAME.json and NAME.csv.

`study_dir` is the folder of a study, `configuration` the configuration of its models. All functions raise
PneumoscopeError if the folder contains no study or its radiographs have changed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.json_file import to_plain, write_json
from pneumoscope.io.results import MethodTable
from pneumoscope.io.study_folder import list_classifiers, list_other_seeds, model_dir
from pneumoscope.io.write import write_text
from pneumoscope.study.pipeline import reopen_study

READER_METHOD = "hirescam"  # heatmap method of exported classifiers


def run_anomaly_benchmark(study_dir: Path, out_dir: Path, *, epochs: int | None = None) -> MethodTable:
    """Task 3. Evaluate all anomaly detectors, fitted on the normals of a study. An interrupted run can be resumed.

    Args:
        study_dir: folder of the study.
        out_dir: folder for `anomaly.json`, `anomaly.csv` and the checkpoints, `detectors/`.
        epochs: number of epochs of the autoencoder; None for its default.
    """
    from pneumoscope.research.anomaly_benchmark import benchmark_anomaly

    request, dataset = reopen_study(study_dir)
    table = benchmark_anomaly(dataset, out_dir / "detectors", epochs=epochs, seed=request["seed"])
    return _write_table("anomaly", table, out_dir, data_sha256=request["data_sha256"])


def run_explain_benchmark(
    study_dir: Path, configuration: str, out_dir: Path, *, layer: str | None = None
) -> MethodTable:
    """Task 4. Evaluate all explanation methods on the classifier of a study.

    Args:
        study_dir: folder of the study.
        configuration: configuration of the classifier.
        out_dir: folder for `explain.csv` and `explain.json`. The keys `method`, `layer`, `verdict` and `metrics` of
            `explain.json` describe the heatmaps of exported models; the export reads them.
        layer: layer for class-activation maps; by default the last convolutional layer.
    """
    from pneumoscope.explain.scorer import Scorer
    from pneumoscope.models.saved_model import load_model
    from pneumoscope.research.explain_benchmark import benchmark_explanations

    request, dataset = reopen_study(study_dir, configuration)
    task = next(iter(list_classifiers(study_dir, configuration)), "binary")
    saved = load_model(model_dir(study_dir, configuration, task))
    label_set = saved.card.label_set or dataset.label_set
    others = list_other_seeds(study_dir, configuration)
    other = load_model(others[0]).model if others else None
    try:
        scorer = Scorer(saved.model, layer)
        table = benchmark_explanations(scorer, dataset, label_set=label_set, other=other, seed=request["seed"])
    except ValueError as error:
        raise PneumoscopeError(str(error)) from None
    content: dict[str, Any] = {"configuration": configuration, "layer": scorer.layer}
    if READER_METHOD in table.metrics:
        content |= {"method": READER_METHOD, "verdict": table.remarks[READER_METHOD]}
        content |= {"metrics": table.metrics[READER_METHOD]}
    return _write_table("explain", table, out_dir, data_sha256=request["data_sha256"], **content)


def _write_result(name: str, rows: Sequence[Mapping[str, Any]], content: Mapping[str, Any], out_dir: Path) -> None:
    """Write `NAME.csv` with one line per row, and `NAME.json` with `content`."""
    table = pd.DataFrame(list(rows)).to_csv(index=False)
    write_text(out_dir / f"{name}.csv", f"# {RESEARCH_USE_ONLY}\n{table}")
    head = {"notice": RESEARCH_USE_ONLY, "pneumoscope": __version__}
    write_json(out_dir / f"{name}.json", to_plain({**head, **content}))


def _write_table(name: str, table: MethodTable, out_dir: Path, **content: Any) -> MethodTable:
    methods = {"methods": table.metrics, "remarks": table.remarks}
    _write_result(name, table.to_rows(), {**content, **methods}, out_dir)
    return table
