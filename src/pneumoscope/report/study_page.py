"""The report: one HTML file that opens with no network, from the folder that a study leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.archive import load_result
from pneumoscope.io.results import EmbeddingMap
from pneumoscope.io.study_folder import order_configurations, split_stage
from pneumoscope.report import sentences
from pneumoscope.report.comparison import compare_figures, read_metrics
from pneumoscope.report.gallery import draw_pictures
from pneumoscope.report.interactive_map import write_map_data
from pneumoscope.report.published import PUBLICATIONS, TEST_IMAGES
from pneumoscope.report.tables import (
    SECOND_NET,
    tabulate_counts,
    tabulate_metrics,
    tabulate_settings,
    tabulate_timing,
    word_cell,
)
from pneumoscope.report.templates import read_scripts, write_page
from pneumoscope.report.threshold_explorer import write_explorer_data
from pneumoscope.report.wording import TASK_TITLES, word_value
from pneumoscope.study.summary import SCHEMA_VERSION

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset

WHOLE_STUDY_STAGES = ("audit", "leakage")


def write_report(out_dir: str | os.PathLike[str], dataset: Dataset | None = None) -> Path:
    """Write `report.html`, and the figures in it as files, from what a study left.

    Args:
        out_dir: folder with `results.json` and `stages/*.npz`; stages that are missing are left out of the report.
        dataset: the study's data set, for pictures of neighbors; without it they are left out.

    Returns:
        Path of `report.html`.

    Raises:
        PneumoscopeError: if `results.json` is missing, damaged or of another version.
    """
    out_dir = Path(out_dir)
    results = load_results(out_dir / "results.json")
    stages = _load_stages(out_dir / "stages")
    pictures = draw_pictures(stages, results, out_dir / "figures", dataset=dataset)
    maps = {name: write_map_data(stage, dataset) for name, stage in stages.items() if isinstance(stage, EmbeddingMap)}
    return write_page(
        out_dir / "report.html",
        "report.html.j2",
        scripts=read_scripts(),
        maps=maps,
        explorer=write_explorer_data(stages),
        results=results,
        pictures=pictures,
        audit=stages.get("audit"),
        word_cell=word_cell,
        word_value=word_value,
        task_titles={task: title for task, title in TASK_TITLES.items() if results["tasks"].get(task)},
        **_collect_overview(results),
        **_collect_tasks(results),
        **_collect_background(results, stages),
    )


def load_results(path: Path) -> dict[str, Any]:
    """Return the content of a `results.json` of a version that this package knows.

    Raises:
        PneumoscopeError: if there is none, it is damaged, or it is of another version.
    """
    if not path.is_file():
        raise PneumoscopeError(f"{path} is missing; expected the folder that `pneumoscope study --out` has written")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PneumoscopeError(f"{path} cannot be read ({error}); run the study again with --resume") from None
    version = str(results.get("schema_version") if isinstance(results, dict) else None)
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise PneumoscopeError(f"{path} has schema version {version}, expected {SCHEMA_VERSION}; run the study again")
    return results


def _load_stages(stages_dir: Path) -> dict[str, Any]:
    known = [
        path
        for path in sorted(stages_dir.glob("*.npz"))
        if split_stage(path.stem)[0] or path.stem in WHOLE_STUDY_STAGES
    ]
    return {path.stem: load_result(path) for path in known}


def _collect_overview(results: dict[str, Any]) -> dict[str, Any]:
    rows = compare_figures(results)
    return {
        "headlines": sentences.write_headlines(results),
        "tiles": sentences.collect_tiles(results),
        "comparison": rows,
        "configurations": order_configurations({configuration for row in rows for configuration in row.ours}),
        "publications": PUBLICATIONS,
        "published_test_images": TEST_IMAGES,
    }


def _collect_tasks(results: dict[str, Any]) -> dict[str, Any]:
    tasks = results["tasks"]
    neighbors = tasks.get("neighbors", {})
    explained = read_metrics(results, "explain")
    return {
        "metric_tables": {task: tabulate_metrics(tasks[task]) for task in TASK_TITLES if task in tasks},
        "second_neighbors_table": tabulate_metrics(neighbors, suffix=SECOND_NET),
        "agreements": {
            suffix: [
                (name, sentences.write_agreement(neighbors[name], suffix=suffix))
                for name in order_configurations(neighbors)
            ]
            for suffix in ("", SECOND_NET)
        },
        "directions": [
            (name, [sentences.write_direction(metrics)]) for name, metrics in read_metrics(results, "anomaly").items()
        ],
        "explained": [
            (
                name,
                [
                    sentences.write_centrality(metrics, phantoms=results["data"]["phantoms"]),
                    sentences.write_peaks(metrics),
                ],
            )
            for name, metrics in explained.items()
        ],
    }


def _collect_background(results: dict[str, Any], stages: dict[str, Any]) -> dict[str, Any]:
    audit, data = stages.get("audit"), results["data"]
    return {
        "counts_used": tabulate_counts(data["counts"], data.get("patients", {})),
        "counts_found": tabulate_counts(audit.counts, audit.patients) if audit is not None else {"rows": []},
        "unreadable": audit.unreadable if audit is not None else [],
        "leakage_text": sentences.write_leakage(stages["leakage"]) if "leakage" in stages else "",
        "settings": tabulate_settings(results["settings"]),
        "timing": tabulate_timing(results["timing"]),
        "limits": sentences.write_limits(results, audit),
    }
