"""The folder of a study: paths of stages and models, and the ledger of finished stages."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.errors import ModelError, PneumoscopeError
from pneumoscope.io.archive import load_result, save_result
from pneumoscope.io.json_file import write_json
from pneumoscope.io.read import decode_json, read_text
from pneumoscope.labels import Task
from pneumoscope.progress import log

LEDGER_NAME = "study.json"
# Configurations of a study, in display order.
CONFIGURATIONS = ("reference", "improved", "default")
# Classification tasks, from the coarsest to the finest.
CLASSIFICATIONS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")
_TASKS = (
    *(f"{prefix}{task}" for prefix in ("", "neighbors_", "map_") for task in CLASSIFICATIONS),
    *("anomaly", "explain", "held_out"),
)
_WHOLE_STUDY_STAGES = ("audit", "leakage")


class Ledger:
    """The finished stages of one study.

    Attributes:
        out_dir: folder of the study.
        facts: `request` holds the settings of the study, `timing` the seconds of each finished stage, `left_out` the
            reason for each task that the data do not allow.
        computed: stages that were computed since the ledger was opened.
    """

    def __init__(self, out_dir: Path, facts: dict[str, Any]) -> None:
        self.out_dir = out_dir
        self.facts = facts
        self.computed: list[str] = []

    @classmethod
    def open(cls, out_dir: Path, *, resume: bool) -> "Ledger":
        """Open the ledger of a folder, or create a new one.

        Raises:
            PneumoscopeError: if the folder contains a study and `resume` is false, or if its ledger is damaged.
        """
        path = out_dir / LEDGER_NAME
        if not path.exists():
            if out_dir.exists() and not out_dir.is_dir():
                raise PneumoscopeError(f"{out_dir} is a file; expected a folder to write to")
            return cls(out_dir, {"notice": RESEARCH_USE_ONLY, "request": {}, "timing": {}, "left_out": {}})
        if not resume:
            raise PneumoscopeError(
                f"{out_dir} contains a study already. Add --resume to continue it, give another --out, or delete it."
            )
        try:
            facts = decode_json(read_text(path))
            kept = {name: facts[name] for name in ("request", "timing", "left_out")}
            if not all(isinstance(values, dict) for values in kept.values()):
                raise TypeError("request, timing and left_out are no objects")
            return cls(out_dir, facts)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PneumoscopeError(f"{path} is damaged ({error}); delete {out_dir} or give another --out") from None

    def claim(self, request: dict[str, Any]) -> None:
        """Record the settings of a study.

        Raises:
            PneumoscopeError: if the folder contains a study with other settings.
        """
        old = self.facts["request"]
        different = [name for name in request if old and old.get(name) != request[name] and name != "source"]
        if different:
            changes = ", ".join(f"{name} was {old.get(name)!r} and is {request[name]!r} now" for name in different)
            raise PneumoscopeError(
                f"{self.out_dir} contains a study with other settings: {changes}. "
                "Resume with the same settings, give another --out, or delete the folder."
            )
        self.facts["request"] = request
        self._save()

    def run(self, stage: str, compute: Callable[[], Any]) -> Any:
        """Return the result of a stage. It is loaded if finished, else computed and saved."""
        path = _stage_path(self.out_dir, stage)
        if stage in self.facts["timing"] and path.exists():
            log.info("%s: already done", stage)
            return load_result(path)
        log.info("%s: started", stage)
        started = time.perf_counter()
        result = compute()
        seconds = time.perf_counter() - started
        curve = getattr(result, "curve", None)
        save_result(result, path)
        self.computed.append(stage)
        self.facts["timing"][stage] = round(max(seconds, curve.seconds if curve else 0.0), 2)
        self._save()
        log.info("%s: done in %.1f s", stage, seconds)
        return result

    def leave_out(self, task: str, reason: str) -> None:
        """Record and log why a task is left out."""
        log.warning("%s is left out: %s", task, reason)
        self.facts["left_out"][task] = reason
        self._save()

    def results(self) -> dict[str, Any]:
        """Return the results of all finished stages, by stage name."""
        return {stage: load_result(_stage_path(self.out_dir, stage)) for stage in self.facts["timing"]}

    def _save(self) -> None:
        write_json(self.out_dir / LEDGER_NAME, self.facts)


def stage_name(configuration: str, task: str) -> str:
    """Return the name of a stage; `configuration` is empty for a stage of the whole study."""
    return f"{configuration}-{task}" if configuration else task


def split_stage(stage: str) -> tuple[str, str]:
    """Split the name of a stage into configuration and task; the inverse of `stage_name`.

    Example:
        >>> split_stage("improved-map_binary"), split_stage("audit")
        (('improved', 'map_binary'), ('', 'audit'))
    """
    configuration, _, task = stage.rpartition("-")
    return (configuration, task) if task in _TASKS else ("", stage)


def order_configurations(configurations: Iterable[str]) -> list[str]:
    """Return configurations in display order: those of `CONFIGURATIONS`, then others by name."""
    order = {name: place for place, name in enumerate(CONFIGURATIONS)}
    return sorted(configurations, key=lambda name: (order.get(name, len(order)), name))


def find_stage(study_dir: Path, configuration: str, task: str) -> Any:
    """Return the result of a stage, or None if it is not finished."""
    path = _stage_path(study_dir, stage_name(configuration, task))
    return load_result(path) if path.exists() else None


def load_stage(study_dir: Path, configuration: str, task: str) -> Any:
    """Return the result of a finished stage.

    Args:
        study_dir: folder of the study.
        configuration: name of a configuration; empty for a stage of the whole study.
        task: task of the stage, such as `neighbors_binary`.

    Raises:
        PneumoscopeError: if the stage is not finished.
    """
    result = find_stage(study_dir, configuration, task)
    if result is None:
        path = _stage_path(study_dir, stage_name(configuration, task))
        raise PneumoscopeError(
            f"{study_dir} contains no finished {configuration} study: {path} is missing. Finish it with "
            f"`pneumoscope study --out {study_dir} --resume`, or choose another --configuration."
        )
    return result


def load_stages(study_dir: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the results of all finished stages by name, with configurations in display order.

    Returns:
        The results, and for each stage whose file is damaged the reason, which is also logged.
    """
    paths = [
        path
        for path in (study_dir / "stages").glob("*.npz")
        if split_stage(path.stem)[0] or path.stem in _WHOLE_STUDY_STAGES
    ]
    order = order_configurations({split_stage(path.stem)[0] for path in paths})
    paths.sort(key=lambda path: (order.index(split_stage(path.stem)[0]), path.stem))
    stages, damaged = {}, {}
    for path in paths:
        try:
            stages[path.stem] = load_result(path)
        except PneumoscopeError as error:
            damaged[path.stem] = f"damaged: {error}; delete the file and resume the study"
            log.warning("%s is %s", path.stem, damaged[path.stem])
    return stages, damaged


def model_dir(study_dir: Path, configuration: str, name: str) -> Path:
    """Return the folder of a study's model; `default` uses its model of the finest task for `binary` as well."""
    if (configuration, name) == ("default", "binary"):
        name = find_finest(study_dir, configuration) or name
    return study_dir / "models" / stage_name(configuration, name)


def list_classifiers(study_dir: Path, configuration: str) -> list[Task]:
    """Return the tasks that a configuration has a classifier of, from the coarsest to the finest."""
    return [task for task in CLASSIFICATIONS if (study_dir / "models" / stage_name(configuration, task)).is_dir()]


def find_finest(study_dir: Path, configuration: str) -> Task | None:
    """Return the finest task that a configuration has a classifier of, or None."""
    return next(reversed(list_classifiers(study_dir, configuration)), None)


def find_finest_model(study_dir: Path) -> Path:
    """Return the folder of the classifier of the last configuration and its finest task.

    Raises:
        ModelError: if the study has no classifier.
    """
    configurations = {split_stage(path.name)[0] for path in (study_dir / "models").glob("*-*")}
    for configuration in reversed(order_configurations(configurations)):
        if task := find_finest(study_dir, configuration):
            return model_dir(study_dir, configuration, task)
    raise ModelError(f"{study_dir} has no classifier yet; finish it with `pneumoscope study --resume`")


def other_seed_dir(study_dir: Path, configuration: str, seed: int) -> Path:
    """Return the folder of a study's finest classifier trained with another seed."""
    return model_dir(study_dir, configuration, find_finest(study_dir, configuration) or "binary") / f"seed-{seed}"


def list_other_seeds(study_dir: Path, configuration: str) -> list[Path]:
    """Return the folders of a study's finest classifiers trained with other seeds."""
    finest = find_finest(study_dir, configuration)
    return sorted(model_dir(study_dir, configuration, finest).glob("seed-*")) if finest else []


def _stage_path(study_dir: Path, stage: str) -> Path:
    return study_dir / "stages" / f"{stage}.npz"
