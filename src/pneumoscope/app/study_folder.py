"""A study's folder opened for looking: what is finished, what is missing, what is damaged. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError  # noqa: N812 - the module calls it plainly `error`

import numpy as np

from pneumoscope.archive import load_result
from pneumoscope.errors import PneumoscopeError
from pneumoscope.ledger import Ledger
from pneumoscope.results import AnomalyResult, Audit, Classification, Evaluation, Explanation, Leakage, Neighbors
from pneumoscope.study_summary import order_profiles, split_stage

# What the view shows of every recipe; the other stages only add rows to its table of figures.
NEEDED = ("binary", "three_class", "anomaly")
KINDS: dict[str, type] = {
    "audit": Audit,
    "leakage": Leakage,
    "binary": Classification,
    "three_class": Classification,
    "neighbors_binary": Neighbors,
    "neighbors_three_class": Neighbors,
    "anomaly": AnomalyResult,
    "explain": Explanation,
    "held_out": Evaluation,
}

_LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile, ZlibError)


@dataclass(frozen=True)
class OpenStudy:
    """What a study left so far.

    Attributes:
        folder: the study's folder.
        request: what was asked for: `source` (str, or None for phantoms drawn in memory), `seed`, `epochs`.
        stages: finished results by stage name, such as `best-binary`.
        damaged: why a finished stage cannot be read, by stage name.
        missing: stages that the view would show and the study has not finished.
    """

    folder: Path
    request: dict[str, Any]
    stages: dict[str, Any]
    damaged: dict[str, str]
    missing: list[str]

    def of_kind(self, kind: str) -> dict[str, Any]:
        """Return the finished results of one kind by profile, in reading order."""
        found = {split_stage(name)[0]: stage for name, stage in self.stages.items() if split_stage(name)[1] == kind}
        return {profile: found[profile] for profile in order_profiles(found)}


def open_study(folder: Path) -> OpenStudy:
    """Open a study's folder, finished or not.

    Args:
        folder: what `pneumoscope study --out` has written, or is still writing.

    Raises:
        PneumoscopeError: if the folder holds no study, or its ledger is damaged.
    """
    facts = _read_ledger(folder)
    stages: dict[str, Any] = {}
    damaged: dict[str, str] = {}
    for path in sorted((folder / "stages").glob("*.npz")):
        # A stage's file may be there before the ledger says that the stage is done.
        if path.stem not in facts["timing"] or split_stage(path.stem)[1] not in KINDS:
            continue
        try:
            stages[path.stem] = _load_stage(path)
        except _LOADING_ERRORS as error:
            damaged[path.stem] = str(error) or type(error).__name__
    return OpenStudy(folder, facts["request"], stages, damaged, _list_missing(facts["timing"], stages, damaged))


def sign_study(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes whenever a study gets on: name, time and size of its ledger and results."""
    paths = [folder / "study.json", folder / "results.json", *sorted((folder / "stages").glob("*.npz"))]
    facts = [(path, path.stat()) for path in paths if path.is_file()]
    return tuple((path.name, found.st_mtime_ns, found.st_size) for path, found in facts)


def _read_ledger(folder: Path) -> dict[str, Any]:
    expected = f"expected what `pneumoscope study --out {folder.name}` leaves"
    try:
        facts = Ledger.open(folder, resume=True).facts
    except OSError as error:
        raise PneumoscopeError(f"the study in {folder.name} cannot be opened ({error.strerror}); {expected}") from None
    parts = [facts.get("request"), facts.get("timing")] if isinstance(facts, dict) else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise PneumoscopeError(f"study.json in {folder.name} is damaged: it lacks request and timing; {expected}")
    if not facts["request"]:
        raise PneumoscopeError(f"{folder.name} holds no study; {expected}")
    return facts


def _load_stage(path: Path) -> Any:
    stage, expected = load_result(path), KINDS[split_stage(path.stem)[1]]
    if not isinstance(stage, expected):
        raise ValueError(f"it holds {type(stage).__name__}, expected {expected.__name__}")
    for evaluation in getattr(stage, "evaluations", {}).values():
        labels, probabilities = evaluation.labels, evaluation.probabilities
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(evaluation.classes):
            raise ValueError(f"labels run from {labels.min()} to {labels.max()} for {len(evaluation.classes)} classes")
        if not np.isfinite(probabilities).all():
            raise ValueError("some probabilities are not numbers")
    return stage


def _list_missing(timing: dict[str, Any], stages: dict[str, Any], damaged: dict[str, str]) -> list[str]:
    profiles = order_profiles({split_stage(name)[0] for name in (*timing, *stages)} - {""})
    audit = stages.get("audit")
    known = {key.partition("/")[2] for key in audit.counts} if audit is not None else {"bacterial", "viral"}
    # A collection that does not tell bacterial from viral has no task 1.B to miss.
    needed = [kind for kind in NEEDED if kind != "three_class" or {"bacterial", "viral"} <= known]
    wanted = [f"{profile}-{kind}" for profile in profiles for kind in needed]
    return [name for name in wanted if name not in stages and name not in damaged]
