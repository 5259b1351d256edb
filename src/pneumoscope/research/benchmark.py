"""Research on a finished study or on a collection: method benchmarks, ablations and label audits, as JSON and CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.classification.cross_validation import Protocol
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.json_file import to_plain, write_json
from pneumoscope.io.results import MethodTable
from pneumoscope.io.study_folder import find_model, list_other_seeds
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.study.pipeline import reopen_study

READER_METHOD = "hirescam"  # of the heat-maps that an exported classifier gives


def write_findings(name: str, rows: Sequence[Mapping[str, Any]], content: Mapping[str, Any], out_dir: Path) -> None:
    """Write `NAME.csv`, a line for each of `rows`, and `NAME.json`, all of `content`, into `out_dir`."""
    out_dir.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(list(rows)).to_csv(index=False)
    (out_dir / f"{name}.csv").write_text(f"# {RESEARCH_USE_ONLY}\n{table}", encoding="utf-8")
    head = {"notice": RESEARCH_USE_ONLY, "pneumoscope": __version__}
    write_json(out_dir / f"{name}.json", to_plain({**head, **content}))


def _write_methods(name: str, table: MethodTable, out_dir: Path, **content: Any) -> MethodTable:
    methods = {"methods": table.figures, "remarks": table.remarks}
    write_findings(name, table.to_rows(), {**content, **methods}, out_dir)
    return table


def run_neighbors_benchmark(study_dir: Path, configuration: str, out_dir: Path) -> MethodTable:
    """Task 2. Measure retrieval, rejection, calibration and doubt on the embeddings of a study's models.

    Args:
        study_dir: folder that a study left.
        configuration: configuration of the models.
        out_dir: gets `neighbors.json` and `neighbors.csv`.

    Raises:
        PneumoscopeError: if the folder holds no study, or its radiographs have changed since.
    """
    from pneumoscope.research.neighbors_benchmark import benchmark_neighbors

    request, dataset = reopen_study(study_dir)
    table = benchmark_neighbors(study_dir / "models", configuration, dataset, seed=request["seed"])
    return _write_methods("neighbors", table, out_dir, configuration=configuration, data_sha256=request["data_sha256"])


def run_anomaly_benchmark(
    study_dir: Path,
    configuration: str,
    out_dir: Path,
    *,
    weights: Path | None = None,
    epochs: int | None = None,
    num_seeds: int = 1,
) -> MethodTable:
    """Task 3. Fit all anomaly detectors to a study's normals; a run that was stopped goes on where it was.

    Args:
        study_dir: folder that a study left.
        configuration: configuration that the result is filed under.
        out_dir: gets `anomaly.json`, `anomaly.csv` and `detectors/`, what each method came to.
        weights: file of pretrained weights; without it, methods on their features are left out.
        epochs: of every training instead of each method's own.
        num_seeds: how often each method is fitted.

    Raises:
        PneumoscopeError: if the folder holds no study, its radiographs have changed, or the weights do not fit.
    """
    from pneumoscope.research.anomaly_benchmark import benchmark_anomaly

    request, dataset = reopen_study(study_dir)
    table = benchmark_anomaly(
        dataset, out_dir / "detectors", weights=weights, epochs=epochs, num_seeds=num_seeds, seed=request["seed"]
    )
    return _write_methods("anomaly", table, out_dir, configuration=configuration, data_sha256=request["data_sha256"])


def run_explain_benchmark(
    study_dir: Path, configuration: str, out_dir: Path, *, layer: str | None = None
) -> MethodTable:
    """Task 4. Measure all explanation methods on a study's model of normal against pneumonia, each with a verdict.

    Args:
        study_dir: folder that a study left.
        configuration: configuration of the model.
        out_dir: gets `explain.csv`, and `explain.json`, whose `method`, `layer`, `verdict` and `figures` are those of
            the reader's heat-maps, for the export.
        layer: for the class-activation maps; by default the last convolutional one.

    Raises:
        PneumoscopeError: if the layer cannot be explained, the folder holds no study, or its radiographs have changed.
    """
    from pneumoscope.models.saved_model import load_model
    from pneumoscope.research.explain_benchmark import benchmark_explanations

    request, dataset = reopen_study(study_dir)
    model = load_model(find_model(study_dir, configuration, "binary")).model
    others = list_other_seeds(study_dir, configuration)
    other = load_model(others[0]).model if others else None
    try:
        result = benchmark_explanations(model, dataset, other=other, layer=layer, seed=request["seed"])
    except ValueError as error:
        raise PneumoscopeError(str(error)) from None
    content: dict[str, Any] = {
        "configuration": configuration,
        "data_sha256": request["data_sha256"],
        "layer": result.layer,
    }
    if READER_METHOD in result.table.figures:
        verdict, figures = result.table.remarks[READER_METHOD], result.table.figures[READER_METHOD]
        content |= {"method": READER_METHOD, "verdict": verdict, "figures": figures}
    content |= {"claim": result.claim, "probes": result.probes}
    return _write_methods("explain", result.table, out_dir, **content)


def run_ablations(
    dataset: Dataset,
    out_dir: Path,
    *,
    settings: TrainingSettings,
    variants: Sequence[str],
    protocol: Protocol = "patients",
    seed: int = 0,
) -> MethodTable:
    """Cross-validate variants of a configuration, and tabulate all runs that stand in `out_dir`.

    Args:
        dataset: split; its test images are left out.
        out_dir: gets a folder for each run, `ablations.json` and `ablations.csv`.
        settings: the configuration that is varied.
        variants: of `pneumoscope.research.ablation.VARIANTS`.
        protocol: what is held out at a time.
        seed: of the folds and the models.

    Raises:
        PneumoscopeError: if there is no such variant, or too little to hold out.
    """
    from pneumoscope.research.ablation import run_ablation, tabulate_ablations

    for variant in variants:
        run_ablation(dataset, out_dir, settings=settings, variant=variant, protocol=protocol, seed=seed)
    return _write_methods("ablations", tabulate_ablations(out_dir), out_dir, settings=settings.to_json())


def run_label_audit(study_dir: Path, crossvalidation: Path, out_dir: Path) -> dict[str, Any]:
    """List labels that cross-validated models and neighbors contradict, one by one and in runs of file names.

    Args:
        study_dir: folder that a study left.
        crossvalidation: folder that `pneumoscope crossvalidate` left, by patients, of the study's data and seed.
        out_dir: gets `labels.csv`, a line for each contradicted label, and `labels.json`, which the export reads.

    Returns:
        The content of `labels.json`: `labels`, those contradicted, the most suspicious first, and `stretches` of file
        names; `images`, `inside`, `verdict` and `figures` tell how far to trust bacterial against viral, by number of
        pneumonias, number of those in stretches, a sentence, and AUROC outside and inside of them.

    Raises:
        PneumoscopeError: if either folder holds something else, or they are of different data.
    """
    from pneumoscope.data.audit import audit_dataset
    from pneumoscope.research.ablation import load_told
    from pneumoscope.research.label_audit import review_labels, vote_held_out
    from pneumoscope.research.label_error_runs import find_error_runs, write_subtype_verdict

    request, dataset = reopen_study(study_dir)
    predictions, models_dir = load_told(crossvalidation, seed=request["seed"])
    votes = vote_held_out(dataset, predictions, models_dir, seed=request["seed"])
    subtypes = dict(zip(dataset.table["name"], dataset.table["subtype"], strict=True))
    review = review_labels(predictions, votes, audit_dataset(dataset), subtypes)
    stretches = find_error_runs(dataset, predictions)
    aurocs = stretches.aurocs.items()
    content = {
        "data_sha256": request["data_sha256"],
        "seed": request["seed"],
        "images": len(stretches.names),
        "inside": int(stretches.inside.sum()),
        "verdict": write_subtype_verdict(stretches),
        "figures": {f"{source}_{place}": auroc for source, places in aurocs for place, auroc in places.items()},
        "num_labels": review.num_images,
        "classes": review.classes,
        "estimated_wrong": float(review.joint.sum() - np.trace(review.joint)),
        "joint": review.joint,
        "duplicates": review.duplicates,
        "labels": review.to_rows(),
        "stretches": stretches.to_rows(),
    }
    write_findings("labels", review.to_rows(), content, out_dir)
    return content
