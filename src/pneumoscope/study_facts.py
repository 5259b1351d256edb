"""What a study knows of its models beside themselves, for their cards."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.archive import load_result
from pneumoscope.errors import PneumoscopeError
from pneumoscope.progress import log
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import Evaluation
from pneumoscope.tasks.judge import plain_figures

READER_METHOD = "hirescam"  # what the graphs' heat-maps are


def find_places(study_dir: Path, profile: str) -> dict[str, np.ndarray]:
    """Return the place of each image on the study's map, by name.

    Raises:
        PneumoscopeError: if the study did not come so far.
    """
    path = study_dir / "stages" / f"{profile}-map_three_class.npz"
    if not path.exists():
        raise PneumoscopeError(
            f"{study_dir} holds no finished study of the profile {profile}: {path} is missing. Finish it with "
            f"`pneumoscope study --out {study_dir} --resume`, or name another profile."
        )
    drawn = load_result(path)
    return dict(zip(drawn.names.tolist(), drawn.coordinates, strict=True))


def find_held_out(study_dir: Path, profile: str) -> Evaluation | None:
    """Return what nets of the same recipe said of series that they had not seen, where the study held some out."""
    path = study_dir / "stages" / f"{profile}-held_out.npz"
    return load_result(path) if path.exists() else None


def ask_other_seeds(study_dir: Path, profile: str, dataset: Dataset) -> dict[int, np.ndarray]:
    """Return by seed what nets of the same recipe and other seeds say of all images, where the study trained some."""
    from pneumoscope.models.bundle import load_bundle
    from pneumoscope.study import list_other_seeds
    from pneumoscope.tasks.classify import predict_probabilities

    nets = [load_bundle(folder, precision="float32") for folder in list_other_seeds(study_dir, profile)]
    return {int(net.card["seed"]): predict_probabilities(net.model, dataset.images) for net in nets}


def find_verdict(study_dir: Path, profile: str) -> dict[str, Any]:
    """Return how far heat-maps like the reader's are to be trusted, where the study has measured that."""
    path = study_dir / "stages" / f"{profile}-explain_benchmark.npz"
    if not path.exists():
        log.info("how far to trust heat-maps is not known: `pneumoscope explain --benchmark` has not measured it")
        return {}
    found = load_result(path)
    figures = plain_figures(found.table.figures[READER_METHOD])
    verdict = found.table.remarks[READER_METHOD]
    return {"explanation": {"method": READER_METHOD, "layer": found.layer, "verdict": verdict, "figures": figures}}


def judge_subtypes(crossvalidation: str | os.PathLike[str] | None, dataset: Dataset, seed: int) -> dict[str, Any]:
    """Return how far bacterial against viral is to be trusted, by what nets told of patients they had not seen.

    Args:
        crossvalidation: folder that `pneumoscope crossvalidate` left, by patients; None where that was not run.
        dataset: the study's.
        seed: of the study.

    Raises:
        PneumoscopeError: if the folder holds none of this seed, or one of other data.
    """
    from pneumoscope.report.verdicts import write_subtype_verdict
    from pneumoscope.tasks.ablate import load_told
    from pneumoscope.tasks.label_stretches import find_error_runs

    if crossvalidation is None:
        return {}
    told, _ = load_told(crossvalidation, seed=seed)
    missing = set(told.names.tolist()) - set(dataset.table["name"])
    if missing:
        raise PneumoscopeError(
            f"{crossvalidation} tells of {len(missing):,} images that the study does not hold, such as {min(missing)}; "
            "expected a cross-validation of the same data"
        )
    found = find_error_runs(dataset, told)
    figures = {
        f"{teller}_{place}": figure for teller, places in found.aurocs.items() for place, figure in places.items()
    }
    return {
        "subtypes": {
            "images": len(found.names),
            "inside": int(found.inside.sum()),
            "verdict": write_subtype_verdict(found),
            "figures": plain_figures(figures),
        }
    }
