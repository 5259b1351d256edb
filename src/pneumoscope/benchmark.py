"""Many methods of one task side by side, on the models that a study left; the table becomes part of its report."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from pneumoscope.comparison import DetectorComparison, MethodTable, NeighborsBenchmark
from pneumoscope.errors import PneumoscopeError
from pneumoscope.json_archive import write_json
from pneumoscope.ledger import Ledger
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.study import find_model, list_other_seeds, reopen_study, write_outcome


class Benchmark(Protocol):
    """What a benchmark leaves: the table, and whatever its pictures need."""

    @property
    def table(self) -> MethodTable:
        """Methods side by side."""


def run_benchmark(
    study_dir: Path, profile: str, task: str, compute: Callable[[Dataset, int], Benchmark]
) -> MethodTable:
    """Run a benchmark, keep what comes of it in the study, and write the study's report anew.

    Args:
        study_dir: folder that a study left.
        profile: recipe of the model.
        task: `neighbors`, `anomaly` or `explain`.
        compute: takes the study's images and its seed.

    Raises:
        PneumoscopeError: if the folder holds no study, or its radiographs have changed since.
    """
    request, dataset = reopen_study(study_dir)
    ledger = Ledger.open(study_dir, resume=True)
    result = ledger.run(f"{profile}-{task}_benchmark", lambda: compute(dataset, request["seed"]), anew=True)
    write_outcome(ledger, dataset)
    return result.table


def run_neighbors_benchmark(study_dir: Path, profile: str) -> MethodTable:
    """Task 2. Measure what neighbors find, reject, promise and doubt, on the embeddings of a study's nets.

    Args:
        study_dir: folder that a study left.
        profile: recipe of the nets.

    Raises:
        PneumoscopeError: see `run_benchmark`.
    """
    from pneumoscope.tasks.neighbors_benchmark import benchmark_neighbors

    models_dir = study_dir / "models"
    return run_benchmark(
        study_dir,
        profile,
        "neighbors",
        lambda dataset, seed: NeighborsBenchmark(benchmark_neighbors(models_dir, profile, dataset, seed=seed)),
    )


def run_anomaly_benchmark(
    study_dir: Path, profile: str, *, weights: Path | None = None, epochs: int | None = None, num_seeds: int = 1
) -> MethodTable:
    """Task 3. Run the benchmark of anomaly detectors; a run that was stopped goes on at the method where it was.

    Args:
        study_dir: folder that a study left.
        profile: recipe that the table stands under.
        weights: file of a net of photographs; without it, methods on its features are left out.
        epochs: passes of every training instead of each method's own.
        num_seeds: how often each method is fitted.

    Raises:
        PneumoscopeError: see `run_benchmark`; if the weights do not fit.
    """
    from pneumoscope.tasks.anomaly.benchmark import benchmark_anomaly

    out_dir = study_dir / "models" / f"{profile}-detectors"

    def compute(dataset: Dataset, seed: int) -> Benchmark:
        return DetectorComparison(
            benchmark_anomaly(dataset, out_dir, weights=weights, epochs=epochs, num_seeds=num_seeds, seed=seed)
        )

    return run_benchmark(study_dir, profile, "anomaly", compute)


def run_explain_benchmark(study_dir: Path, profile: str, *, layer: str | None = None) -> MethodTable:
    """Task 4. Measure all methods of explanation on a study's net of normal against pneumonia, each with its verdict.

    The heatmaps of exported classifiers are summarized in `PROFILE-explain_results.json`, which `export` takes.

    Args:
        study_dir: folder that a study left.
        profile: recipe of the net.
        layer: for the class-activation maps; by default the last convolutional one.

    Raises:
        PneumoscopeError: if the layer cannot be looked through, or see `run_benchmark`.
    """
    from pneumoscope.models.bundle import load_bundle
    from pneumoscope.report.verdicts import summarize_explanations, write_verdict
    from pneumoscope.tasks.classify import hash_table
    from pneumoscope.tasks.explain.benchmark import benchmark_explanations

    def compute(dataset: Dataset, seed: int) -> Benchmark:
        model = load_bundle(find_model(study_dir, profile, "binary")).model
        others = list_other_seeds(study_dir, profile)
        other = load_bundle(others[0]).model if others else None
        try:
            found = benchmark_explanations(model, dataset, other=other, layer=layer, seed=seed)
        except ValueError as error:
            raise PneumoscopeError(str(error)) from None
        verdicts = {method: write_verdict(figures) for method, figures in found.table.figures.items()}
        result = replace(found, table=MethodTable(found.table.figures, verdicts))
        write_json(study_dir / f"{profile}-explain_results.json", summarize_explanations(result, hash_table(dataset)))
        return result

    return run_benchmark(study_dir, profile, "explain", compute)
