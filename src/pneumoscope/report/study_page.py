"""The report of a study: one HTML file that works offline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.read import decode_json, read_text
from pneumoscope.io.results import EmbeddingMap, Explanation
from pneumoscope.io.study_folder import CLASSIFICATIONS, load_stages, order_configurations, split_stage
from pneumoscope.report import sentences, tables
from pneumoscope.report.comparison import compare_metrics, is_comparable, list_titles, read_label_set, read_metrics
from pneumoscope.report.interactive_map import write_map_data, write_thumbnails
from pneumoscope.report.published import PUBLICATIONS, TEST_IMAGES
from pneumoscope.report.study_figures import draw_figures
from pneumoscope.report.templates import read_scripts, write_page
from pneumoscope.report.threshold_explorer import write_explorer_data
from pneumoscope.report.wording import field_title
from pneumoscope.study.summary import SCHEMA_VERSION

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset

_FIELDS = ("tasks", "left_out", "data", "settings", "timing", "versions", "hardware")


def write_report(out_dir: str | os.PathLike[str], dataset: Dataset | None = None) -> Path:
    """Write `report.html` and its figures into the folder of a study.

    Args:
        out_dir: folder with `results.json` and `stages/*.npz`. The report omits missing stages, and names damaged
            ones with the reason.
        dataset: the dataset of the study. Without it the report has no thumbnails and no figures of nearest neighbors.

    Returns:
        Path of `report.html`.

    Raises:
        PneumoscopeError: if `results.json` is missing, damaged or of another version.
    """
    out_dir = Path(out_dir)
    results = load_results(out_dir / "results.json")
    stages, damaged = load_stages(out_dir)
    results["left_out"] = results["left_out"] | damaged
    explorer = write_explorer_data(stages)
    label_set = read_label_set(results)
    titles, suffixes = list_titles(results), _list_suffixes(stages)
    return write_page(
        out_dir / "report.html",
        "report.html.j2",
        sections=_list_sections(results, stages, titles, has_explorer=explorer is not None),
        phantoms=results["data"]["phantoms"],
        scripts=read_scripts(),
        maps={
            name: write_map_data(stage, dataset, negative=label_set.negative)
            for name, stage in stages.items()
            if isinstance(stage, EmbeddingMap)
        },
        thumbnails=write_thumbnails(dataset) if dataset is not None else None,
        explorer=explorer,
        results=results,
        figures=draw_figures(stages, results, out_dir / "figures", dataset=dataset),
        publications=PUBLICATIONS,
        published_test_images=TEST_IMAGES,
        audit=stages.get("audit"),
        comparable=is_comparable(results),
        embeddings={task: titles.get(task, task).split()[0] for task in suffixes},
        texts=_write_texts(results, stages, suffixes),
        tables=_list_tables(results, stages, titles, suffixes),
        shared_settings=tables.list_shared_settings(results["settings"]),
        machine={field_title(name): value for name, value in results["hardware"].items()} | results["versions"],
    )


def load_results(path: Path) -> dict[str, Any]:
    """Return the content of a `results.json`.

    Raises:
        PneumoscopeError: if it is missing, damaged or of another version.
    """
    if not path.is_file():
        raise PneumoscopeError(f"{path} is missing; expected the folder that `pneumoscope study --out` has written")
    try:
        results = decode_json(read_text(path))
    except (OSError, ValueError) as error:
        raise PneumoscopeError(f"{path} cannot be read ({error}); run the study again with --resume") from None
    version = str(results.get("schema_version") if isinstance(results, dict) else None)
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise PneumoscopeError(f"{path} has schema version {version}, expected {SCHEMA_VERSION}; run the study again")
    missing = [name for name in _FIELDS if not isinstance(results.get(name), dict)]
    if missing:
        raise PneumoscopeError(f"{path} is damaged: {', '.join(missing)} missing; run the study again with --resume")
    return dict(results)


def _list_sections(
    results: dict[str, Any], stages: dict[str, Any], titles: dict[str, str], *, has_explorer: bool
) -> dict[str, str]:
    tasks = {task: title for task, title in titles.items() if results["tasks"].get(task)}
    return {
        "overview": "Overview",
        **{task: title for task, title in tasks.items() if task in CLASSIFICATIONS},
        **({"thresholds": "Thresholds"} if has_explorer else {}),
        **tasks,
        "data": "Data",
        **({"leakage": "Data leakage"} if "leakage" in stages else {}),
        "limitations": "Limitations",
        "settings": "Training settings",
        "machine": "Reproducibility",
        "sources": "Sources",
    }


def _list_suffixes(stages: dict[str, Any]) -> dict[str, str]:
    """Return the suffix of the fields of task 2 in `results.json`, by classifier."""
    found = {split_stage(name)[1] for name in stages}
    tasks = [task for task in CLASSIFICATIONS if f"neighbors_{task}" in found]
    return {task: f"_{task}" if number else "" for number, task in enumerate(tasks)}


def _list_tables(
    results: dict[str, Any], stages: dict[str, Any], titles: dict[str, str], suffixes: dict[str, str]
) -> dict[str, tables.Table]:
    tasks, data, audit, label_set = results["tasks"], results["data"], stages.get("audit"), read_label_set(results)
    captions = {task: titles[task].partition(" ")[2] for task in tasks} | {"explain": "Heatmaps of the test images"}
    listed = {task: tables.tabulate_metrics(captions[task], tasks[task]) for task in tasks if tasks[task]}
    for task, suffix in suffixes.items():
        caption = f"k-NN on the embedding of classifier {titles.get(task, task).split()[0]}"
        listed[f"neighbors_{task}"] = tables.tabulate_metrics(caption, tasks.get("neighbors", {}), suffix=suffix)
    caption, images = "Images by split and class, as used in the study", data.get("images", {})
    left_out: list[tables.Row] = [(field_title(part), [reason]) for part, reason in results["left_out"].items()]
    anomaly, comparable = tasks.get("anomaly", {}), is_comparable(results)
    listed |= {
        "false_positives": tables.tabulate_false_positives(anomaly),
        "reference_rules": tables.tabulate_reference_rules(anomaly, compared=comparable),
        "comparison": tables.tabulate_comparison(compare_metrics(results), titles, compared=comparable),
        "counts": tables.tabulate_counts(caption, data["counts"], data.get("patients", {}), images, label_set),
        "settings": tables.tabulate_settings(results["settings"]),
        "timing": tables.tabulate_timing(results["timing"]),
        "left_out": tables.Table("Left out", ["Part", "Reason"], left_out),
    }
    if audit is not None:
        caption = "Images by split and class, as stored in the collection"
        rows: list[tables.Row] = [(entry["name"], [entry["reason"]]) for entry in audit.unreadable]
        listed |= {
            "counts_found": tables.tabulate_counts(caption, audit.counts, audit.patients, audit.images, label_set),
            "exposure": tables.tabulate_exposure(audit.exposure),
            "unreadable": tables.Table("Files left out", ["File", "Reason"], rows),
        }
    return listed


def _write_texts(results: dict[str, Any], stages: dict[str, Any], suffixes: dict[str, str]) -> dict[str, list[str]]:
    """Return paragraphs by section."""
    compared, neighbors = is_comparable(results), results["tasks"].get("neighbors", {})
    explained = {split_stage(name)[0]: stage for name, stage in stages.items() if isinstance(stage, Explanation)}
    by_configuration = {
        "anomaly": {
            name: sentences.write_direction(metrics) for name, metrics in read_metrics(results, "anomaly").items()
        },
        "explain": {
            name: f"{sentences.write_centrality(metrics, explained[name].label_set, compared=compared)} "
            f"{sentences.write_peaks(metrics)}".strip()
            for name, metrics in read_metrics(results, "explain").items()
            if name in explained
        },
    }
    for task, suffix in suffixes.items():
        names = order_configurations(neighbors)
        by_configuration[f"neighbors_{task}"] = {
            name: sentences.write_agreement(neighbors[name], suffix=suffix) for name in names
        }
    return {
        "overview": sentences.write_headlines(results),
        "leakage": [sentences.write_leakage(stages["leakage"])] if "leakage" in stages else [],
        "limitations": sentences.write_limitations(results, stages.get("audit")),
        **{
            section: [f"{name.capitalize()}: {text}" for name, text in texts.items() if text]
            for section, texts in by_configuration.items()
        },
    }
