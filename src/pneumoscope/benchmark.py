"""Many methods of one task side by side, on the models that a study left; the table becomes part of its report."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pneumoscope.comparison import MethodTable
from pneumoscope.ledger import Ledger
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.study import reopen_study, write_outcome


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


def run_anomaly_benchmark(
    study_dir: Path, profile: str, *, weights: Path | None = None, epochs: int | None = None, num_seeds: int = 1
) -> MethodTable:
    """Run the benchmark of anomaly detectors; a run that was stopped goes on at the method where it was.

    Args:
        study_dir: folder that a study left; its flagship is used where it has one.
        profile: recipe that the table stands under.
        weights: file of a net of photographs; without it, methods on its features are left out.
        epochs: passes of every training instead of each method's own.
        num_seeds: how often each method is fitted.

    Raises:
        PneumoscopeError: see `run_benchmark`; if the weights do not fit.
    """
    from pneumoscope.tasks.anomaly.benchmark import benchmark_anomaly
    from pneumoscope.tasks.anomaly.methods import Means

    flagship = study_dir / "models" / "flagship-three_class"

    def compute(dataset: Dataset, seed: int) -> Benchmark:
        means = Means(
            study_dir / "models" / f"{profile}-detectors",
            epochs=epochs,
            weights=weights,
            flagship=flagship if flagship.is_dir() else None,
            seed=seed,
        )
        return benchmark_anomaly(dataset, means, num_seeds=num_seeds)

    return run_benchmark(study_dir, profile, "anomaly", compute)
