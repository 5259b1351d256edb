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
