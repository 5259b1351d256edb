"""The whole pipeline, in the order of the mission: radiographs, tasks 1 to 4, results.

Every stage leaves its result in `OUT/stages`; a study that was killed goes on with the first unfinished one.
"""

import logging
import os
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
from pneumoscope.io.study_folder import Ledger, find_model, order_configurations, split_stage
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.models.settings import (
    STUDY_CONFIGURATIONS,
    TrainingSettings,
    autoencoder_settings,
    configuration_settings,
)
from pneumoscope.phantoms.phantom import draw_phantoms, phantom_dataset
from pneumoscope.progress import log
from pneumoscope.study.provenance import describe_hardware, list_versions
from pneumoscope.study.summary import describe_data, summarize_study

PHANTOM_COUNTS = {"num_train": 450, "num_test": 150}
PHANTOM_EPOCHS = 6
NUM_NEW_PHANTOMS = 6
CLASSES = {"binary": BINARY_CLASSES, "three_class": THREE_CLASSES}
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
    """Run every task on a collection; `write_audit` and `write_report` make the pages of what it leaves.

    Args:
        source: folder or manifest of radiographs; None draws phantoms and trains for few epochs.
        out_dir: gets `results.json`, `models/`, `stages/`, `log.txt`.
        configurations: which recipes to train, of `reference`, `improved` and `default`.
        epochs: of the classifiers, instead of the configuration's own; the autoencoder trains half as many.
        seed: of every random choice.
        resume: go on with what stands in `out_dir`; a stage whose file was deleted is computed again.
        new_source: folder or manifest of images to place on the maps; by default some phantoms are.

    Returns:
        The images of the study, split, for its pages.

    Raises:
        PneumoscopeError: if `out_dir` holds another study, or a stage cannot be done.
    """
    out_dir = Path(out_dir)
    ledger = Ledger.open(out_dir, resume=resume)
    handler = _log_to(out_dir / "log.txt")
    try:
        collected = load_study_dataset(source, out_dir, seed=seed)
        dataset = split_dataset(collected, seed=seed)
        if source is None:
            epochs = epochs or PHANTOM_EPOCHS
        ledger.claim(_describe_study(source, dataset, epochs, seed))
        _run_checks(ledger, collected, dataset, seed)
        plan = _Plan(dataset, ledger, epochs, seed, *_load_new_images(new_source, seed))
        for configuration in configurations:
            _run_configuration(plan, configuration)
        _write_results(ledger, dataset)
        return dataset
    finally:
        log.removeHandler(handler)
        handler.close()


def load_study_dataset(source: str | os.PathLike[str] | None, out_dir: Path, *, seed: int, size: int = 128) -> Dataset:
    """Load what a study works on, not split yet: a collection, or phantoms where `source` is None.

    Args:
        source: folder or manifest of radiographs, or None.
        out_dir: where decoded images are kept.
        seed: of the phantoms.
        size: side in pixels of the images, as `TrainingSettings.size` has it for the nets to come.
    """
    if source is None:
        return phantom_dataset(**PHANTOM_COUNTS, size=size, seed=seed)
    return load_dataset(source, size=size, cache_dir=out_dir / "cache")


def reopen_study(out_dir: str | os.PathLike[str]) -> tuple[dict[str, Any], Dataset]:
    """Return what a study was asked for and the dataset it worked on, for a task alone.

    Raises:
        PneumoscopeError: if the folder holds no study, or its radiographs have changed since.
    """
    out_dir = Path(out_dir)
    ledger = Ledger.open(out_dir, resume=True)
    request = ledger.facts["request"]
    if not request:
        raise PneumoscopeError(f"{out_dir} holds no study; expected what `pneumoscope study --out {out_dir}` leaves")
    collected = load_study_dataset(request["source"], out_dir, seed=request["seed"])
    dataset = split_dataset(collected, seed=request["seed"])
    ledger.claim(_describe_study(request["source"], dataset, request["epochs"], request["seed"]))
    return request, dataset


@dataclass(frozen=True)
class _Plan:
    """What every stage of a study shares."""

    dataset: Dataset
    ledger: Ledger
    epochs: int | None
    seed: int
    new_images: np.ndarray
    new_names: list[str]

    def model_dir(self, configuration: str, name: str) -> Path:
        return find_model(self.ledger.out_dir, configuration, name)

    def embed(self, configuration: str, task: str, images: np.ndarray) -> np.ndarray:
        from pneumoscope.models.saved_model import load_model
        from pneumoscope.neighbors.knn import embed_images

        return embed_images(load_model(self.model_dir(configuration, task)).model, images)


def _run_checks(ledger: Ledger, collected: Dataset, dataset: Dataset, seed: int) -> None:
    """Audit the collection, and measure what a random split by image would leak."""
    from pneumoscope.data.audit import audit_dataset
    from pneumoscope.study.leakage import measure_leakage

    ledger.run("audit", lambda: audit_dataset(collected))
    ledger.run("leakage", lambda: measure_leakage(dataset, seed=seed))


def _run_configuration(plan: _Plan, configuration: str) -> None:
    """Tasks 1 to 4 with one recipe."""
    from pneumoscope.anomaly.autoencoder import train_anomaly
    from pneumoscope.anomaly.normality_model import train_normality_model
    from pneumoscope.explain.explanation import explain_classifier
    from pneumoscope.models.saved_model import load_model

    if configuration == "default":
        _run_default(plan)
    else:
        for task in CLASSES:
            _run_classifier(plan, configuration, task)
    train = train_normality_model if configuration == "default" else train_anomaly
    settings, out_dir = anomaly_settings(configuration, epochs=plan.epochs), plan.model_dir(configuration, "anomaly")
    plan.ledger.run(
        f"{configuration}-anomaly", lambda: train(plan.dataset, out_dir, settings=settings, seed=plan.seed)[1]
    )

    def explain() -> Explanation:
        return explain_classifier(
            load_model(plan.model_dir(configuration, "binary")).model, plan.dataset, seed=plan.seed
        )

    plan.ledger.run(f"{configuration}-explain", explain)


def _run_classifier(plan: _Plan, configuration: str, task: str) -> None:
    """Tasks 1 and 2 with one net of one recipe."""
    from pneumoscope.classification.classifier import join_pneumonias, train_classifier
    from pneumoscope.neighbors.knn import find_neighbors
    from pneumoscope.neighbors.map import compute_map

    classes, seed, joint = CLASSES[task], plan.seed, configuration == "default"
    rows = np.flatnonzero(plan.dataset.labels(THREE_CLASSES if joint else classes) >= 0)
    known = plan.dataset.select(rows)
    if len(set(known.labels(classes))) < len(classes):
        log.warning("%s is left out: the collection does not tell all of %s", task, ", ".join(classes))
        return
    settings = configuration_settings(configuration, epochs=plan.epochs)

    def train() -> Classification:
        if joint and task == "binary":
            return join_pneumonias(plan.ledger.results()["default-three_class"], seed=seed)
        out_dir = plan.model_dir(configuration, task)
        return train_classifier(known, out_dir, classes=classes, settings=settings, seed=seed)[1]

    trained = plan.ledger.run(f"{configuration}-{task}", train)
    embeddings = cache(lambda: plan.embed(configuration, task, known.images))

    def compare() -> Neighbors:
        probabilities = trained.evaluations["test"].probabilities
        found = find_neighbors(embeddings(), known, classes=classes, probabilities=probabilities, seed=seed)
        return replace(found, queries=rows[found.queries], nearest=rows[found.nearest])

    def place() -> EmbeddingMap:
        new = plan.embed(configuration, task, plan.new_images)
        return compute_map(
            embeddings(), known, classes=classes, seed=seed, new_embeddings=new, new_names=plan.new_names
        )

    plan.ledger.run(f"{configuration}-neighbors_{task}", compare)
    plan.ledger.run(f"{configuration}-map_{task}", place)


def _run_default(plan: _Plan) -> None:
    """Tasks 1 and 2 with one net for both, its recipe with other seeds, and on normals of a series not seen."""
    from pneumoscope.classification.classifier import train_classifier
    from pneumoscope.classification.cross_validation import cross_validate, list_series

    known = plan.dataset.select(plan.dataset.labels(THREE_CLASSES) >= 0)
    told = sorted(set(known.table["subtype"]))
    if len(told) < len(THREE_CLASSES):
        raise PneumoscopeError(
            f"the collection has the sub-types {', '.join(told)}; expected {', '.join(THREE_CLASSES)} for `default`. "
            "Name another configuration, or give the sub-types in a manifest."
        )
    for task in ("three_class", "binary"):
        _run_classifier(plan, "default", task)
    settings = configuration_settings("default", epochs=plan.epochs)

    def train(seed: int) -> Classification:
        out_dir = plan.model_dir("default", "three_class") / f"seed-{seed}"
        return train_classifier(known, out_dir, classes=THREE_CLASSES, settings=settings, seed=seed)[1]

    for seed in (plan.seed + step for step in OTHER_SEEDS):
        plan.ledger.run(f"default-seed_{seed}", partial(train, seed))
    if len(list_series(known)) < 2:
        log.info("the file names of the normals are of one series: none is held out")
        return
    out_dir = plan.model_dir("default", "held_out")
    judge = partial(cross_validate, known, out_dir, settings=settings, protocol="series", seed=plan.seed)
    plan.ledger.run("default-held_out", judge)


def anomaly_settings(configuration: str, *, epochs: int | None = None) -> TrainingSettings:
    """Return the settings of a configuration's model of task 3; that of `default` trains for `epochs` at most."""
    from pneumoscope.anomaly.normality_model import normality_settings

    if configuration != "default":
        return autoencoder_settings(configuration, epochs=epochs)
    usual = normality_settings()
    return usual if epochs is None else replace(usual, epochs=min(usual.epochs, epochs))


def _load_new_images(new_source: str | os.PathLike[str] | None, seed: int) -> tuple[np.ndarray, list[str]]:
    if new_source is not None:
        new = load_dataset(new_source)
        return new.images, new.table["name"].tolist()
    phantoms = draw_phantoms(NUM_NEW_PHANTOMS, size=128, seed=seed + 1)
    return phantoms.images, [f"phantom {number}, {kind}" for number, kind in enumerate(phantoms.subtypes, start=1)]


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


def _write_results(ledger: Ledger, dataset: Dataset) -> None:
    """Write `results.json` of all stages that are done."""
    stages, request, timing = ledger.results(), ledger.facts["request"], ledger.facts["timing"]
    configurations = order_configurations({split_stage(name)[0] for name in stages} - {""})
    summary = summarize_study(
        stages,
        data=describe_data(dataset, request),
        settings={
            "seed": request["seed"],
            "epochs": request["epochs"],
            **{configuration: _describe_settings(configuration, request["epochs"]) for configuration in configurations},
        },
        timing={**timing, "total": round(sum(timing.values()), 2)},
        versions=list_versions(),
        hardware=describe_hardware(),
    )
    write_json(ledger.out_dir / "results.json", summary)


def _describe_settings(configuration: str, epochs: int | None) -> dict[str, Any]:
    return {
        "classifier": configuration_settings(configuration, epochs=epochs).to_json(),
        "anomaly": anomaly_settings(configuration, epochs=epochs).to_json(),
    }


def _log_to(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    if new:
        log.info(RESEARCH_USE_ONLY)
    return handler
