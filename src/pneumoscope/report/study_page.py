"""The report of a study: one HTML file that works offline."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.results import EmbeddingMap
from pneumoscope.io.study_folder import load_stages, order_configurations
from pneumoscope.report import sentences, tables
from pneumoscope.report.comparison import compare_metrics, read_metrics
from pneumoscope.report.interactive_map import write_map_data, write_thumbnails
from pneumoscope.report.published import PUBLICATIONS, TEST_IMAGES
from pneumoscope.report.study_figures import draw_figures
from pneumoscope.report.templates import read_scripts, write_page
from pneumoscope.report.threshold_explorer import write_explorer_data
from pneumoscope.report.wording import TASK_TITLES
from pneumoscope.study.summary import SCHEMA_VERSION

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset

METRIC_CAPTIONS = {
    "binary": "Normal or pneumonia",
    "three_class": "Normal, bacterial or viral",
    "neighbors": "k-NN on the embedding of classifier 1.A",
    "anomaly": "Anomaly detection",
    "explain": "Heatmaps of the test images",
}


def write_report(out_dir: str | os.PathLike[str], dataset: Dataset | None = None) -> Path:
    """Write `report.html` and its figures into the folder of a study.

    Args:
        out_dir: folder with `results.json` and `stages/*.npz`. The report omits missing stages.
        dataset: the dataset of the study. Without it the report has no thumbnails and no figures of nearest neighbors.

    Returns:
        Path of `report.html`.

    Raises:
        PneumoscopeError: if `results.json` is missing, damaged or of another version.
    """
    out_dir = Path(out_dir)
    results = load_results(out_dir / "results.json")
    stages = load_stages(out_dir)
    explorer = write_explorer_data(stages)
    return write_page(
        out_dir / "report.html",
        "report.html.j2",
        sections=_list_sections(results, stages, has_explorer=explorer is not None),
        phantoms=results["data"]["phantoms"],
        scripts=read_scripts(),
        maps={
            name: write_map_data(stage, dataset) for name, stage in stages.items() if isinstance(stage, EmbeddingMap)
        },
        thumbnails=write_thumbnails(dataset) if dataset is not None else None,
        explorer=explorer,
        results=results,
        figures=draw_figures(stages, results, out_dir / "figures", dataset=dataset),
        publications=PUBLICATIONS,
        published_test_images=TEST_IMAGES,
        audit=stages.get("audit"),
        texts=_write_texts(results, stages),
        tiles=sentences.list_tiles(results),
        tables=_list_tables(results, stages.get("audit")),
        shared_settings=tables.list_shared_settings(results["settings"]),
    )


def load_results(path: Path) -> dict[str, Any]:
    """Return the content of a `results.json`.

    Raises:
        PneumoscopeError: if it is missing, damaged or of another version.
    """
    if not path.is_file():
        raise PneumoscopeError(f"{path} is missing; expected the folder that `pneumoscope study --out` has written")
    try:
        results: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PneumoscopeError(f"{path} cannot be read ({error}); run the study again with --resume") from None
    version = str(results.get("schema_version") if isinstance(results, dict) else None)
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise PneumoscopeError(f"{path} has schema version {version}, expected {SCHEMA_VERSION}; run the study again")
    return dict(results)


def _list_sections(results: dict[str, Any], stages: dict[str, Any], *, has_explorer: bool) -> dict[str, str]:
    tasks = {task: title for task, title in TASK_TITLES.items() if results["tasks"].get(task)}
    sections = {"overview": "Overview"} | {name: tasks[name] for name in ("binary", "three_class") if name in tasks}
    sections |= {"thresholds": "Thresholds"} if has_explorer else {}
    sections |= tasks | {"data": "Data"} | ({"leakage": "Data leakage"} if "leakage" in stages else {})
    return sections | {
        "limitations": "Limitations",
        "settings": "Training settings",
        "machine": "Reproducibility",
        "sources": "Sources",
    }


def _list_tables(results: dict[str, Any], audit: Any) -> dict[str, tables.Table]:
    tasks, data = results["tasks"], results["data"]
    listed = {
        task: tables.tabulate_metrics(caption, tasks[task])
        for task, caption in METRIC_CAPTIONS.items()
        if tasks.get(task)
    }
    caption, suffix = "k-NN on the embedding of classifier 1.B", tables.SECOND_CLASSIFIER
    second = tables.tabulate_metrics(caption, tasks.get("neighbors", {}), suffix=suffix)
    counts = tables.tabulate_counts(
        "Images by split and class, as used in the study", data["counts"], data.get("patients", {})
    )
    listed |= {
        "neighbors_three_class": second,
        "comparison": tables.tabulate_comparison(compare_metrics(results), phantoms=data["phantoms"]),
        "counts": counts,
        "settings": tables.tabulate_settings(results["settings"]),
        "timing": tables.tabulate_timing(results["timing"]),
    }
    if audit is not None:
        rows: list[tables.Row] = [(entry["name"], [entry["reason"]]) for entry in audit.unreadable]
        caption = "Images by split and class, as stored in the collection"
        listed |= {
            "counts_found": tables.tabulate_counts(caption, audit.counts, audit.patients),
            "exposure": tables.tabulate_exposure(audit.exposure),
            "unreadable": tables.Table("Files left out", ["File", "Reason"], rows),
        }
    return listed


def _write_texts(results: dict[str, Any], stages: dict[str, Any]) -> dict[str, list[str]]:
    """Return paragraphs by section."""
    neighbors = results["tasks"].get("neighbors", {})
    texts = {
        "overview": sentences.write_headlines(results),
        "anomaly": _name_configurations(
            {name: sentences.write_direction(metrics) for name, metrics in read_metrics(results, "anomaly").items()}
        ),
        "explain": _name_configurations(
            {
                name: " ".join(
                    [
                        sentences.write_centrality(metrics, phantoms=results["data"]["phantoms"]),
                        sentences.write_peaks(metrics),
                    ]
                ).strip()
                for name, metrics in read_metrics(results, "explain").items()
            }
        ),
        "leakage": [sentences.write_leakage(stages["leakage"])] if "leakage" in stages else [],
        "limitations": sentences.write_limitations(results, stages.get("audit")),
    }
    for suffix in ("", tables.SECOND_CLASSIFIER):
        texts[f"neighbors{suffix}"] = _name_configurations(
            {
                name: sentences.write_agreement(neighbors[name], suffix=suffix)
                for name in order_configurations(neighbors)
            }
        )
    return texts


def _name_configurations(texts: dict[str, str]) -> list[str]:
    return [f"{name.capitalize()}: {text}" for name, text in texts.items() if text]
