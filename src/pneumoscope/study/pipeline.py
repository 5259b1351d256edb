"""The study: all tasks on a collection of radiographs, stage by stage.

Every stage writes its result to `OUT/stages`. A study that was killed resumes at the first unfinished stage.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.splits import split_dataset
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.json_file import write_json
from pneumoscope.io.results import Classification, EmbeddingMap, Explanation, Neighbors
from pneumoscope.io.study_folder import (
    Ledger,
    model_dir,
    order_configurations,
    other_seed_dir,
    split_stage,
    stage_name,
)
from pneumoscope.labels import TASK_CLASSES, THREE_CLASSES
from pneumoscope.models.settings import (
    PHANTOM_SIZE,
    STUDY_CONFIGURATIONS,
    TrainingSettings,
    adapt_to_phantoms,
    autoencoder_settings,
    configuration_settings,
)
from pneumoscope.phantoms.phantom import draw_phantoms, phantom_dataset
from pneumoscope.progress import log
from pneumoscope.study.provenance import describe_hardware, list_versions
from pneumoscope.study.summary import describe_data, summarize_study

# Chosen so that a study of phantoms takes less than three minutes on 2 cores.
PHANTOM_COUNTS = {"num_train": 450, "num_test": 120}
PHANTOM_EPOCHS = 4
PHANTOM_AUTOENCODER = {"epochs": 5, "batch_size": 4}
NUM_NEW_PHANTOMS = 6
# Added to the study's own seed, to measure the spread over seeds of the default configuration.
OTHER_SEEDS = (1000, 2000)


def run_study(
    source: str | os.PathLike[str] | None,
    out_dir: str | os.PathLike[str],
    *,
    configurations: tuple[str, ...] = STUDY_CONFIGURATIONS,
    epochs: int | None = None,
    seed: int = 0,
    resume: bool = False,
    new_source: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Run every task on a collection; `write_audit` and `write_report` write its pages.

    Args:
        source: folder or manifest of radiographs; None draws phantoms and trains for few epochs.
        out_dir: folder for `results.json`, `models/`, `stages/` and `log.txt`.
        configurations: one or more of `reference`, `improved` and `default`.
        epochs: number of epochs of the classifiers; by default the number of the configuration. The autoencoder trains
            for half as many.
        seed: of every random choice.
        resume: continue the study in `out_dir`. A stage whose file was deleted is computed again.
        new_source: folder or manifest of images to place on the maps; by default some phantoms.

    Returns:
        The images of the study with their splits.

    Raises:
        PneumoscopeError: if `out_dir` holds another study, or a stage fails.
    """
    from pneumoscope.data.audit import audit_dataset
    from pneumoscope.study.leakage import measure_leakage

    out_dir = Path(out_dir)
    ledger = Ledger.open(out_dir, resume=resume)
    with _log_to(out_dir / "log.txt"):
        collected = load_study_dataset(source, out_dir, seed=seed)
        dataset = split_dataset(collected, seed=seed)
        if source is None:
            epochs = epochs or PHANTOM_EPOCHS
        ledger.claim(_describe_study(source, dataset, epochs, seed))
        ledger.run("audit", lambda: audit_dataset(collected))
        ledger.run("leakage", lambda: measure_leakage(dataset, seed=seed))
        size = dataset.images.shape[1]
        study = _Study(dataset, ledger, seed, *_load_new_images(new_source, seed, size))
        for configuration in configurations:
            _run_configuration(study, configuration)
        _write_results(ledger, dataset)
    return dataset


def load_study_dataset(
    source: str | os.PathLike[str] | None, out_dir: Path, *, seed: int, size: int | None = None
) -> Dataset:
    """Load the images of a study before the split: a collection, or phantoms if `source` is None.

    Images have sides of `size` pixels, by default 128, or 96 for phantoms. `out_dir` gets a cache of decoded images.
    """
    if source is None:
        return phantom_dataset(**PHANTOM_COUNTS, size=size or PHANTOM_SIZE, seed=seed)
    return load_dataset(source, size=size or 128, cache_dir=out_dir / "cache")


def reopen_study(out_dir: str | os.PathLike[str]) -> tuple[dict[str, Any], Dataset]:
    """Return the `request` of a study's ledger, and its dataset with splits.

    Raises:
        PneumoscopeError: if the folder holds no study, or its radiographs have changed.
    """
    out_dir = Path(out_dir)
    ledger = Ledger.open(out_dir, resume=True)
    request = ledger.facts["request"]
    if not request:
        raise PneumoscopeError(f"{out_dir} holds no study; expected the output of `pneumoscope study --out {out_dir}`")
    dataset = split_dataset(load_study_dataset(request["source"], out_dir, seed=request["seed"]), seed=request["seed"])
    ledger.claim(_describe_study(request["source"], dataset, request["epochs"], request["seed"]))
    return request, dataset


def classifier_settings(configuration: str, *, epochs: int | None = None, phantoms: bool = False) -> TrainingSettings:
    """Return the settings of a configuration's classifiers, for radiographs or for phantoms."""
    settings = configuration_settings(configuration, epochs=epochs)
    return adapt_to_phantoms(settings) if phantoms else settings


def anomaly_settings(configuration: str, *, epochs: int | None = None, phantoms: bool = False) -> TrainingSettings:
    """Return the settings of a configuration's anomaly detector; the one of `default` trains for at most `epochs`."""
    from pneumoscope.anomaly.normality_model import normality_settings

    if configuration == "default":
        settings = normality_settings()
        settings = settings if epochs is None else replace(settings, epochs=min(settings.epochs, epochs))
        return replace(settings, size=PHANTOM_SIZE) if phantoms else settings
    if not phantoms:
        return autoencoder_settings(configuration, epochs=epochs)
    settings = autoencoder_settings(configuration, epochs=epochs, min_epochs=PHANTOM_AUTOENCODER["epochs"])
    # A decay over so few epochs leaves the validation loss higher.
    return replace(settings, size=PHANTOM_SIZE, batch_size=PHANTOM_AUTOENCODER["batch_size"], cosine=False, warmup=0.0)


@dataclass(frozen=True)
class _Study:
    """What every stage of a study shares."""

    dataset: Dataset
    ledger: Ledger
    seed: int
    new_images: np.ndarray
    new_names: list[str]

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `classifier_settings` and `anomaly_settings`."""
        return _settings_options(self.ledger)

    def model_dir(self, configuration: str, name: str) -> Path:
        return model_dir(self.ledger.out_dir, configuration, name)

    def embed(self, configuration: str, task: str, images: np.ndarray) -> np.ndarray:
        from pneumoscope.models.saved_model import load_model
        from pneumoscope.neighbors.knn import embed_images

        return embed_images(load_model(self.model_dir(configuration, task)).model, images)


def _run_configuration(study: _Study, configuration: str) -> None:
    """Tasks 1 to 4 with one configuration."""
    from pneumoscope.anomaly.autoencoder import train_anomaly
    from pneumoscope.anomaly.normality_model import train_normality_model
    from pneumoscope.explain.explanation import explain_classifier
    from pneumoscope.models.saved_model import load_model

    if configuration == "default":
        _run_default(study)
    else:
        for task in TASK_CLASSES:
            _run_classifier(study, configuration, task)
    train = train_normality_model if configuration == "default" else train_anomaly
    settings, out_dir = anomaly_settings(configuration, **study.options), study.model_dir(configuration, "anomaly")
    study.ledger.run(
        stage_name(configuration, "anomaly"),
        lambda: train(study.dataset, out_dir, settings=settings, seed=study.seed)[1],
    )

    def explain() -> Explanation:
        model = load_model(study.model_dir(configuration, "binary")).model
        return explain_classifier(model, study.dataset, seed=study.seed)

    study.ledger.run(stage_name(configuration, "explain"), explain)


def _run_classifier(study: _Study, configuration: str, task: str) -> None:
    """Tasks 1 and 2 with one classifier; `default` derives the binary results from the three-class model."""
    from pneumoscope.classification.classifier import join_pneumonias, train_classifier

    classes, joint = TASK_CLASSES[task], configuration == "default"
    rows = np.flatnonzero(study.dataset.labels(THREE_CLASSES if joint else classes) >= 0)
    labeled = study.dataset.select(rows)
    if len(set(labeled.labels(classes))) < len(classes):
        log.warning("%s is skipped: the collection has no images of at least one class of %s", task, ", ".join(classes))
        return

    def train() -> Classification:
        if joint and task == "binary":
            return join_pneumonias(study.ledger.results()[stage_name("default", "three_class")], seed=study.seed)
        settings = classifier_settings(configuration, **study.options)
        out_dir = study.model_dir(configuration, task)
        return train_classifier(labeled, out_dir, classes=classes, settings=settings, seed=study.seed)[1]

    trained = study.ledger.run(stage_name(configuration, task), train)
    _run_neighbors(study, configuration, task, rows, trained.evaluations["test"].probabilities)


def _run_neighbors(study: _Study, configuration: str, task: str, rows: np.ndarray, probabilities: np.ndarray) -> None:
    """Task 2 with one classifier on the images of `rows`; `probabilities` are its predictions for the test images."""
    from pneumoscope.neighbors.knn import find_neighbors
    from pneumoscope.neighbors.map import compute_map

    classes, labeled, seed = TASK_CLASSES[task], study.dataset.select(rows), study.seed
    embeddings = cache(lambda: study.embed(configuration, task, labeled.images))

    def find() -> Neighbors:
        neighbors = find_neighbors(embeddings(), labeled, classes=classes, probabilities=probabilities, seed=seed)
        return replace(neighbors, queries=rows[neighbors.queries], nearest=rows[neighbors.nearest])

    def map_embeddings() -> EmbeddingMap:
        new = study.embed(configuration, task, study.new_images)
        return compute_map(
            embeddings(), labeled, classes=classes, seed=seed, new_embeddings=new, new_names=study.new_names
        )

    study.ledger.run(stage_name(configuration, f"neighbors_{task}"), find)
    study.ledger.run(stage_name(configuration, f"map_{task}"), map_embeddings)


def _run_default(study: _Study) -> None:
    """Tasks 1 and 2 with one model; the model is also trained with other seeds and without one series of normals."""
    from pneumoscope.classification.classifier import train_classifier
    from pneumoscope.classification.cross_validation import cross_validate, list_series

    labeled = study.dataset.select(study.dataset.labels(THREE_CLASSES) >= 0)
    subtypes = sorted(set(labeled.table["subtype"]))
    if len(subtypes) < len(THREE_CLASSES):
        raise PneumoscopeError(
            f"the configuration `default` needs {', '.join(THREE_CLASSES)}; found only {', '.join(subtypes)}. "
            "Use --configuration improved, or name the subtypes by folders or in a manifest."
        )
    for task in ("three_class", "binary"):
        _run_classifier(study, "default", task)
    settings = classifier_settings("default", **study.options)

    def train(seed: int) -> Classification:
        out_dir = other_seed_dir(study.ledger.out_dir, "default", seed)
        return train_classifier(labeled, out_dir, classes=THREE_CLASSES, settings=settings, seed=seed)[1]

    for seed in (study.seed + step for step in OTHER_SEEDS):
        study.ledger.run(stage_name("default", f"seed_{seed}"), partial(train, seed))
    if len(list_series(labeled)) < 2:
        log.info("all file names of normals belong to one series: no series is held out")
        return
    out_dir = study.model_dir("default", "held_out")
    validate_by_series = partial(
        cross_validate, labeled, out_dir, settings=settings, protocol="series", seed=study.seed
    )
    study.ledger.run(stage_name("default", "held_out"), validate_by_series)


def _load_new_images(new_source: str | os.PathLike[str] | None, seed: int, size: int) -> tuple[np.ndarray, list[str]]:
    if new_source is not None:
        new = load_dataset(new_source, size=size)
        return new.images, new.table["name"].tolist()
    phantoms = draw_phantoms(NUM_NEW_PHANTOMS, size=size, seed=seed + 1)
    return phantoms.images, [
        f"phantom {number}, {subtype}" for number, subtype in enumerate(phantoms.subtypes, start=1)
    ]


def _describe_study(
    source: str | os.PathLike[str] | None, dataset: Dataset, epochs: int | None, seed: int
) -> dict[str, Any]:
    from pneumoscope.classification.classifier import hash_table

    return {
        "source": None if source is None else str(Path(source).resolve()),
        "data_sha256": hash_table(dataset),
        "epochs": epochs,
        "seed": seed,
    }


def _settings_options(ledger: Ledger) -> dict[str, Any]:
    request = ledger.facts["request"]
    return {"epochs": request["epochs"], "phantoms": request["source"] is None}


def _write_results(ledger: Ledger, dataset: Dataset) -> None:
    """Write `results.json` of all finished stages."""
    stages, request, timing = ledger.results(), ledger.facts["request"], ledger.facts["timing"]
    configurations = order_configurations({split_stage(name)[0] for name in stages} - {""})
    options = _settings_options(ledger)
    settings = {
        configuration: {
            "classifier": classifier_settings(configuration, **options).to_json(),
            "anomaly": anomaly_settings(configuration, **options).to_json(),
        }
        for configuration in configurations
    }
    summary = summarize_study(
        stages,
        data=describe_data(dataset, request),
        settings={"seed": request["seed"], "epochs": request["epochs"], **settings},
        timing={**timing, "total": round(sum(timing.values()), 2)},
        versions=list_versions(),
        hardware=describe_hardware(),
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
