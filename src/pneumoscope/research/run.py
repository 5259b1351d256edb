"""Run benchmarks, ablation studies and label audits, and write their JSON and CSV files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.classification.cross_validation import Protocol
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.results import MethodTable
from pneumoscope.io.study_folder import list_classifiers, list_other_seeds, model_dir
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.research.write import write_result, write_table
from pneumoscope.study.pipeline import reopen_study

# `study_dir` is the folder of a study, `configuration` the configuration of its models. All functions raise
# PneumoscopeError if the folder contains no study or its radiographs have changed.

READER_METHOD = "hirescam"  # heatmap method of exported classifiers


def run_neighbors_benchmark(study_dir: Path, configuration: str, out_dir: Path) -> MethodTable:
    """Task 2. Evaluate the embeddings of a study; writes `neighbors.json` and `neighbors.csv`."""
    from pneumoscope.research.neighbors_benchmark import benchmark_neighbors

    request, dataset = reopen_study(study_dir)
    table = benchmark_neighbors(study_dir, configuration, dataset, seed=request["seed"])
    return write_table("neighbors", table, out_dir, configuration=configuration, data_sha256=request["data_sha256"])


def run_anomaly_benchmark(
    study_dir: Path,
    configuration: str,
    out_dir: Path,
    *,
    weights: Path | None = None,
    epochs: int | None = None,
    num_seeds: int = 1,
) -> MethodTable:
    """Task 3. Evaluate all anomaly detectors, fitted on the normals of a study. An interrupted run can be resumed.

    Args:
        study_dir: folder of the study.
        configuration: recorded in the result.
        out_dir: folder for `anomaly.json`, `anomaly.csv` and the checkpoints, `detectors/`.
        weights: file of pretrained weights; if None, detectors with pretrained features are skipped.
        epochs: number of epochs; None for the default of each detector.
        num_seeds: number of fits per detector.
    """
    from pneumoscope.research.anomaly_benchmark import benchmark_anomaly

    request, dataset = reopen_study(study_dir)
    table = benchmark_anomaly(
        dataset, out_dir / "detectors", weights=weights, epochs=epochs, num_seeds=num_seeds, seed=request["seed"]
    )
    return write_table("anomaly", table, out_dir, configuration=configuration, data_sha256=request["data_sha256"])


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
    from pneumoscope.models.saved_model import load_model
    from pneumoscope.research.explain_benchmark import benchmark_explanations

    request, dataset = reopen_study(study_dir)
    task = next(iter(list_classifiers(study_dir, configuration)), "binary")
    saved = load_model(model_dir(study_dir, configuration, task))
    label_set = saved.card.label_set or dataset.label_set
    others = list_other_seeds(study_dir, configuration)
    other = load_model(others[0]).model if others else None
    try:
        result = benchmark_explanations(
            saved.model, dataset, label_set=label_set, other=other, layer=layer, seed=request["seed"]
        )
    except ValueError as error:
        raise PneumoscopeError(str(error)) from None
    table, content = result.table, {"layer": result.layer, "claim": result.claim, "probes": result.probes}
    if READER_METHOD in table.metrics:
        content |= {"method": READER_METHOD, "verdict": table.remarks[READER_METHOD]}
        content |= {"metrics": table.metrics[READER_METHOD]}
    data_sha256 = request["data_sha256"]
    return write_table("explain", table, out_dir, configuration=configuration, data_sha256=data_sha256, **content)


def run_ablations(
    dataset: Dataset,
    out_dir: Path,
    *,
    settings: TrainingSettings,
    variants: Sequence[str],
    protocol: Protocol = "patients",
    seed: int = 0,
) -> MethodTable:
    """Cross-validate variants of a configuration, and tabulate all runs in `out_dir`.

    Args:
        dataset: with splits; test images are excluded.
        out_dir: folder for `ablations.json`, `ablations.csv` and one folder per run.
        settings: configuration to vary.
        variants: names from `pneumoscope.research.ablation.VARIANTS`.
        protocol: cross-validation protocol, see `cross_validate`.
        seed: of the folds and the models.
    """
    from pneumoscope.research.ablation import run_ablation, tabulate_ablations

    for variant in variants:
        run_ablation(dataset, out_dir, settings=settings, variant=variant, protocol=protocol, seed=seed)
    return write_table("ablations", tabulate_ablations(out_dir), out_dir, settings=settings.to_json())


def run_label_audit(study_dir: Path, crossvalidation: Path, out_dir: Path) -> dict[str, Any]:
    """Task 2. Audit labels: those contradicted by classifier and neighbors, and error runs in a group of two classes.

    Args:
        study_dir: folder of the study.
        crossvalidation: output folder of `pneumoscope crossvalidate`, by patients, with data and seed of the study.
        out_dir: folder for `labels.csv`, one line per contradicted label, and `labels.json`, which the export reads.

    Returns:
        The content of `labels.json`. `labels` are the contradicted labels, most suspicious first; `error_runs` the
        contiguous error runs in the first group of two classes. `group` holds these classes, `images` and `inside` are
        the numbers of images of the group and of those in runs, `metrics` the AUROC of its classes outside and inside
        of runs, `verdict` a summary sentence.
    """
    from pneumoscope.data.audit import audit_dataset
    from pneumoscope.research.ablation import load_crossvalidation
    from pneumoscope.research.label_audit import review_labels, vote_held_out
    from pneumoscope.research.label_error_runs import find_group_runs, write_group_verdict

    request, dataset = reopen_study(study_dir)
    predictions, models_dir = load_crossvalidation(crossvalidation, seed=request["seed"])
    votes = vote_held_out(dataset, predictions, models_dir, seed=request["seed"])
    given = dict(zip(dataset.table["name"], dataset.table["label"], strict=True))
    review = review_labels(predictions, votes, audit_dataset(dataset), given)
    runs = find_group_runs(dataset, predictions)
    aurocs = runs.aurocs.items()
    content = {
        "data_sha256": request["data_sha256"],
        "seed": request["seed"],
        "group": list(runs.classes),
        "images": len(runs.names),
        "inside": int(runs.inside.sum()),
        "verdict": write_group_verdict(runs),
        "metrics": {f"{source}_{place}": auroc for source, places in aurocs for place, auroc in places.items()},
        "num_labels": review.num_images,
        "classes": review.classes,
        "estimated_wrong": float(review.joint.sum() - np.trace(review.joint)),
        "joint": review.joint,
        "duplicates": review.duplicates,
        "labels": review.rows,
        "error_runs": runs.to_rows(),
    }
    write_result("labels", review.rows, content, out_dir)
    return content
