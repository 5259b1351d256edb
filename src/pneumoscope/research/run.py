"""Benchmarks, ablations and label audits, from the folder of a study or a collection to JSON and CSV files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.classification.cross_validation import Protocol
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.results import MethodTable
from pneumoscope.io.study_folder import list_other_seeds, model_dir
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.research.write import write_result, write_table
from pneumoscope.study.pipeline import reopen_study

# In all of these, `study_dir` is the folder of a study and `configuration` that of its models; they raise
# PneumoscopeError if the folder holds no study or its radiographs have changed since.

READER_METHOD = "hirescam"  # of the heatmaps of an exported classifier


def run_neighbors_benchmark(study_dir: Path, configuration: str, out_dir: Path) -> MethodTable:
    """Task 2. Write `neighbors.json` and `neighbors.csv`: metrics of the embeddings of a study's models."""
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
    """Task 3. Fit all anomaly detectors to a study's normals; the same call resumes a run that was stopped.

    Args:
        study_dir: folder of the study.
        configuration: for the record.
        out_dir: gets `anomaly.json`, `anomaly.csv` and `detectors/`, the checkpoints.
        weights: file of pretrained weights; without it, detectors on their features are left out.
        epochs: of every training instead of each detector's own.
        num_seeds: number of fits of each detector.
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
    """Task 4. Evaluate all explanation methods on a study's model of normal against pneumonia, each with a verdict.

    Args:
        study_dir: folder of the study.
        configuration: of the model.
        out_dir: gets `explain.csv`, and `explain.json`, whose `method`, `layer`, `verdict` and `metrics` are those of
            the reader's heatmaps, for the export.
        layer: for the class-activation maps; by default the last convolutional one.
    """
    from pneumoscope.models.saved_model import load_model
    from pneumoscope.research.explain_benchmark import benchmark_explanations

    request, dataset = reopen_study(study_dir)
    model = load_model(model_dir(study_dir, configuration, "binary")).model
    others = list_other_seeds(study_dir, configuration)
    other = load_model(others[0]).model if others else None
    try:
        result = benchmark_explanations(model, dataset, other=other, layer=layer, seed=request["seed"])
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
        dataset: split; its test images are left out.
        out_dir: gets a folder for each run, `ablations.json` and `ablations.csv`.
        settings: the configuration.
        variants: of `pneumoscope.research.ablation.VARIANTS`.
        protocol: what is held out at a time.
        seed: of the folds and the models.
    """
    from pneumoscope.research.ablation import run_ablation, tabulate_ablations

    for variant in variants:
        run_ablation(dataset, out_dir, settings=settings, variant=variant, protocol=protocol, seed=seed)
    return write_table("ablations", tabulate_ablations(out_dir), out_dir, settings=settings.to_json())


def run_label_audit(study_dir: Path, crossvalidation: Path, out_dir: Path) -> dict[str, Any]:
    """List labels that cross-validated models and neighbors contradict, one by one and in runs of file names.

    Args:
        study_dir: folder of the study.
        crossvalidation: folder of `pneumoscope crossvalidate`, by patients, of the study's data and seed.
        out_dir: gets `labels.csv`, a line for each contradicted label, and `labels.json`, which the export reads.

    Returns:
        The content of `labels.json`: `labels`, those contradicted, the most suspicious first, and `stretches`, runs of
        file names; `images`, `inside`, `verdict` and `metrics` are on bacterial against viral: number of pneumonias,
        number of those in runs, a sentence, and AUROC outside and inside of them.
    """
    from pneumoscope.data.audit import audit_dataset
    from pneumoscope.research.ablation import load_crossvalidation
    from pneumoscope.research.label_audit import review_labels, vote_held_out
    from pneumoscope.research.label_error_runs import find_subtype_runs, write_subtype_verdict

    request, dataset = reopen_study(study_dir)
    predictions, models_dir = load_crossvalidation(crossvalidation, seed=request["seed"])
    votes = vote_held_out(dataset, predictions, models_dir, seed=request["seed"])
    subtypes = dict(zip(dataset.table["name"], dataset.table["subtype"], strict=True))
    review = review_labels(predictions, votes, audit_dataset(dataset), subtypes)
    runs = find_subtype_runs(dataset, predictions)
    aurocs = runs.aurocs.items()
    content = {
        "data_sha256": request["data_sha256"],
        "seed": request["seed"],
        "images": len(runs.names),
        "inside": int(runs.inside.sum()),
        "verdict": write_subtype_verdict(runs),
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
