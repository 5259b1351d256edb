"""What a study knows of its models beside themselves, for their cards."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.archive import load_result
from pneumoscope.errors import PneumoscopeError
from pneumoscope.progress import log
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import Evaluation


def find_places(study_dir: Path, profile: str) -> dict[str, np.ndarray]:
    """Return the place of each image on the study's map, by name.

    Raises:
        PneumoscopeError: if the study did not come so far.
    """
    from pneumoscope.study import load_stage

    drawn = load_stage(study_dir, profile, "map_three_class")
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


def read_verdict(explain_results: str | os.PathLike[str] | None, profile: str, data_sha256: str) -> dict[str, Any]:
    """Return how far to trust heat-maps like the reader's, by `explain.json` of `pneumoscope research explain`.

    Args:
        explain_results: that file; None where it was not measured.
        profile: of the classifier.
        data_sha256: of the study's data.

    Raises:
        PneumoscopeError: if the file cannot be read, or is of another profile or other data.
    """
    if explain_results is None:
        log.info("how far to trust heat-maps is not known: name the explain.json of `pneumoscope research explain`")
        return {}
    results = _read_results(explain_results, data_sha256)
    if results["profile"] != profile:
        raise PneumoscopeError(f"{explain_results} is of the profile {results['profile']}, expected {profile}")
    return {"explanation": _select(results, ("method", "layer", "verdict"))}


def read_subtypes(label_audit: str | os.PathLike[str] | None, data_sha256: str) -> dict[str, Any]:
    """Return how far bacterial against viral is to be trusted, by `labels.json` of `pneumoscope research labels`.

    Args:
        label_audit: that file; None where it was not measured.
        data_sha256: of the study's data.

    Raises:
        PneumoscopeError: if the file cannot be read, or is of other data.
    """
    if label_audit is None:
        return {}
    results = _read_results(label_audit, data_sha256)
    return {"subtypes": _select(results, ("images", "inside", "verdict"))}


def _read_results(path: str | os.PathLike[str], data_sha256: str) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        found = results["data_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PneumoscopeError(
            f"{path} cannot be read ({error}); expected what `pneumoscope research explain` or `labels` has written"
        ) from None
    if found != data_sha256:
        raise PneumoscopeError(f"{path} is of other data than the study ({found[:8]}, expected {data_sha256[:8]})")
    return results


def _select(results: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return some fields, and the figures rounded to four digits as `plain_figures` does."""
    figures = {
        name: {field: None if value is None else round(value, 4) for field, value in figure.items()}
        for name, figure in results["figures"].items()
    }
    return {**{name: results[name] for name in names}, "figures": figures}
