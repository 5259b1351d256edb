"""The study: all tasks on a collection of radiographs, stage by stage.

Every stage writes its result to `OUT/stages`. A study that was killed resumes at the first unfinished stage.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.data.splits import split_dataset
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.json_file import to_plain, write_json
from pneumoscope.io.study_folder import Ledger, order_configurations, split_stage
from pneumoscope.models.settings import PHANTOM_SIZE, STUDY_CONFIGURATIONS
from pneumoscope.phantoms.phantom import draw_phantoms, phantom_dataset
from pneumoscope.progress import log
from pneumoscope.study.provenance import describe_hardware, list_versions
from pneumoscope.study.settings import anomaly_settings, classifier_settings
from pneumoscope.study.stages import Study, choose_tasks, export_reader, run_configuration, settings_options
from pneumoscope.study.summary import describe_data, summarize_study

# Chosen so that a study of phantoms takes less than three minutes on 2 cores.
NUM_TRAIN, NUM_TEST = 450, 120
PHANTOM_EPOCHS = 4
NUM_NEW_PHANTOMS = 6


def run_study(
    source: str | os.PathLike[str] | None,
    out_dir: str | os.PathLike[str],
    *,
    options: LabelOptions | None = None,
    configurations: tuple[str, ...] | None = None,
    epochs: int | None = None,
    seed: int = 0,
    resume: bool = False,
    new_source: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Run every task that the labels of a collection allow; `write_audit` and `write_report` write its pages.

    `left_out` of `results.json` names every other task with the reason. The study ends with an export of the models of
    the last configuration, `OUT/reader`.

    Args:
        source: folder or table of radiographs; None draws phantoms and trains for few epochs.
        out_dir: folder for `results.json`, `models/`, `stages/`, `reader/` and `log.txt`.
        options: how to read the labels, see `scan_collection`.
        configurations: one or more of `reference`, `improved` and `default`; by default the first two for the classes
            of the reference study, and `default` for others.
        epochs: number of epochs of the classifiers; by default the number of the configuration. The autoencoder trains
            for half as many.
        seed: of every random choice.
        resume: continue the study in `out_dir`. A stage whose file was deleted is computed again.
        new_source: folder or table of images to place on the maps; by default some phantoms, if the classes are theirs.

    Returns:
        The images of the study with their splits.

    Raises:
        LabelError: if the labels allow no classifier.
        PneumoscopeError: if `out_dir` holds another study, or a stage fails.
    """
    from pneumoscope.data.audit import audit_dataset
    from pneumoscope.study.leakage import measure_leakage

    out_dir, options = Path(out_dir), options or LabelOptions()
    ledger = Ledger.open(out_dir, resume=resume)
    with _log_to(out_dir / "log.txt"):
        if source is None:
            epochs = epochs or PHANTOM_EPOCHS
        collected = load_study_dataset(source, out_dir, options=options, seed=seed)
        dataset = split_dataset(collected, seed=seed)
        ledger.claim(_describe_study(source, dataset, options, epochs, seed))
        ledger.facts["left_out"] = {}
        if configurations is None:
            configurations = STUDY_CONFIGURATIONS if dataset.label_set == KERMANY_LABELS else ("default",)
            log.info("configurations: %s; choose with --configuration", ", ".join(configurations))
        tasks = choose_tasks(dataset, ledger)
        ledger.run("audit", lambda: audit_dataset(collected))
        ledger.run("leakage", lambda: measure_leakage(dataset, seed=seed))
        for configuration in configurations:
            size = classifier_settings(configuration, **settings_options(ledger)).size
            if dataset.images.shape[1] != size:
                collected = load_study_dataset(source, out_dir, options=options, seed=seed, size=size)
                dataset = split_dataset(collected, seed=seed)
            study = Study(dataset, ledger, seed, tasks, *_load_new_images(new_source, seed, dataset))
            run_configuration(study, configuration)
        export_reader(study, configurations[-1])
        _write_results(ledger, dataset)
    return dataset


def load_study_dataset(
    source: str | os.PathLike[str] | None,
    out_dir: Path,
    *,
    seed: int,
    options: LabelOptions | None = None,
    size: int | None = None,
) -> Dataset:
    """Load the images of a study before the split: a collection, or phantoms if `source` is None.

    Images have sides of `size` pixels, by default 128, or 96 for phantoms. `out_dir` gets a cache of decoded images.
    """
    if source is None:
        return phantom_dataset(num_train=NUM_TRAIN, num_test=NUM_TEST, size=size or PHANTOM_SIZE, seed=seed)
    return load_dataset(source, size=size or 128, cache_dir=out_dir / "cache", options=options or LabelOptions())


def reopen_study(out_dir: str | os.PathLike[str], configuration: str = "default") -> tuple[dict[str, Any], Dataset]:
    """Return the `request` of a study's ledger, and its dataset with splits, of the image size of a configuration.

    Raises:
        PneumoscopeError: if the folder holds no study, or its radiographs have changed.
    """
    out_dir = Path(out_dir)
    ledger = Ledger.open(out_dir, resume=True)
    request = ledger.facts["request"]
    if "labels" not in request:
        raise PneumoscopeError(
            f"{out_dir} holds no study of this version; expected the output of `pneumoscope study --out {out_dir}`"
        )
    options = LabelOptions(**request["labels"])
    size = classifier_settings(configuration, **settings_options(ledger)).size
    collected = load_study_dataset(request["source"], out_dir, options=options, seed=request["seed"], size=size)
    dataset = split_dataset(collected, seed=request["seed"])
    ledger.claim(_describe_study(request["source"], dataset, options, request["epochs"], request["seed"]))
    return request, dataset


def _load_new_images(
    new_source: str | os.PathLike[str] | None, seed: int, dataset: Dataset
) -> tuple[np.ndarray, list[str]]:
    size = dataset.images.shape[1]
    if new_source is not None:
        new = load_dataset(new_source, size=size)
        return new.images, new.table["name"].tolist()
    if dataset.label_set != KERMANY_LABELS:  # phantoms show its classes
        return np.empty((0, size, size), np.uint8), []
    phantoms = draw_phantoms(NUM_NEW_PHANTOMS, size=size, seed=seed + 1)
    return phantoms.images, [f"phantom {number}, {label}" for number, label in enumerate(phantoms.labels, start=1)]


def _describe_study(
    source: str | os.PathLike[str] | None, dataset: Dataset, options: LabelOptions, epochs: int | None, seed: int
) -> dict[str, Any]:
    from pneumoscope.classification.classifier import hash_table

    return {
        "source": None if source is None else str(Path(source).resolve()),
        "data_sha256": hash_table(dataset),
        "labels": to_plain(options),
        "epochs": epochs,
        "seed": seed,
    }


def _write_results(ledger: Ledger, dataset: Dataset) -> None:
    """Write `results.json` of all finished stages."""
    stages, request, timing = ledger.results(), ledger.facts["request"], ledger.facts["timing"]
    configurations = order_configurations({split_stage(name)[0] for name in stages} - {""})
    options = settings_options(ledger)
    settings = {
        configuration: {
            "classifier": classifier_settings(configuration, **options).to_json(),
            **({"anomaly": autoencoder.to_json()} if autoencoder else {}),
        }
        for configuration in configurations
        for autoencoder in (anomaly_settings(configuration, **options),)
    }
    summary = summarize_study(
        stages,
        data=describe_data(dataset, request),
        settings={"seed": request["seed"], "epochs": request["epochs"], **settings},
        timing={**timing, "total": round(sum(timing.values()), 2)},
        versions=list_versions(),
        hardware=describe_hardware(),
        left_out=ledger.facts["left_out"],
    )
    write_json(ledger.out_dir / "results.json", summary)


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    if new:
        log.info(RESEARCH_USE_ONLY)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
