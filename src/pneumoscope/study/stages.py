"""The stages of a study with one configuration, as far as the labels allow them."""

from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import is_labeled
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import ExportError, LabelError, MissingExtraError, TrainingError
from pneumoscope.io.results import Classification, EmbeddingMap, Neighbors
from pneumoscope.io.study_folder import Ledger, model_dir, other_seed_dir, stage_name
from pneumoscope.labels import LabelSet, Task
from pneumoscope.study.settings import anomaly_settings, classifier_settings

if TYPE_CHECKING:
    from pneumoscope.models.saved_model import SavedModel

# Added to the study's own seed, to measure the spread over seeds of the default configuration.
OTHER_SEEDS = (1000, 2000)


def settings_options(ledger: Ledger) -> dict[str, Any]:
    """Return the arguments of `classifier_settings` and `anomaly_settings` for a study."""
    request = ledger.facts["request"]
    return {"epochs": request["epochs"], "phantoms": request["source"] is None}


@dataclass(frozen=True)
class Study:
    """What every stage of a study shares.

    Attributes:
        tasks: classes by classification task that the data allow, from the coarsest to the finest.
    """

    dataset: Dataset
    ledger: Ledger
    seed: int
    tasks: dict[Task, LabelSet]
    new_images: np.ndarray
    new_names: list[str]

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of `classifier_settings` and `anomaly_settings`."""
        return settings_options(self.ledger)

    @property
    def finest(self) -> Task:
        """The finest task."""
        return list(self.tasks)[-1]

    def load_model(self, configuration: str, name: str) -> "SavedModel":
        """Load a model of a configuration."""
        from pneumoscope.models.saved_model import load_model

        return load_model(self.model_dir(configuration, name))

    def model_dir(self, configuration: str, name: str) -> Path:
        """Return the folder of a model of a configuration."""
        return model_dir(self.ledger.out_dir, configuration, name)

    def embed(self, configuration: str, task: str, images: np.ndarray) -> np.ndarray:
        """Return the embeddings of `(n, H, W)` uint8 images by the classifier of a task, `(n, d)` float32."""
        from pneumoscope.neighbors.knn import embed_images

        saved = self.load_model(configuration, task)
        return embed_images(saved.model, images, layer=saved.card.embedding_layer or "embedding")


def choose_tasks(dataset: Dataset, ledger: Ledger) -> dict[Task, LabelSet]:
    """Return the tasks whose classes all have training and validation images; record the others.

    The training of findings checks them itself.

    Raises:
        LabelError: if there is none.
    """
    tasks = dataset.label_set.tasks()
    if dataset.label_set.multi_label:
        return tasks
    for task, label_set in list(tasks.items()):
        lacking = [
            f"{split} has no image of {name}"
            for split in ("train", "val")
            for number, name in enumerate(label_set.classes)
            if number not in dataset.labels(label_set)[dataset.rows(split)]
        ]
        if lacking:
            ledger.leave_out(task, "; ".join(lacking))
            del tasks[task]
    if not tasks:
        reasons = "; ".join(ledger.facts["left_out"].values())
        raise LabelError(f"no classifier can be trained: {reasons}. Add images, or leave out classes with --classes")
    if "multiclass" in tasks and dataset.label_set.negative is None:
        ledger.leave_out("binary", "there is no negative class; name one with --negative")
    return tasks


def run_configuration(study: Study, configuration: str) -> None:
    """Tasks 1 to 4 with one configuration."""
    if configuration == "default":
        _run_default(study)
    else:
        for task in study.tasks:
            _run_classifier(study, configuration, task)
    _run_anomaly(study, configuration)
    _run_explain(study, configuration)


def _run_classifier(study: Study, configuration: str, task: Task) -> None:
    """Tasks 1 and 2 with one classifier; `default` derives the binary results from the finest model."""
    from pneumoscope.classification.classifier import join_positives, train_classifier

    label_set, joint = study.tasks[task], configuration == "default" and task != study.finest
    rows = np.flatnonzero(is_labeled(study.dataset.labels(study.tasks[study.finest] if joint else label_set)))
    labeled = study.dataset.select(rows)

    def train() -> Classification:
        if joint:
            return join_positives(study.ledger.results()[stage_name(configuration, study.finest)], seed=study.seed)
        settings = classifier_settings(configuration, **study.options)
        out_dir = study.model_dir(configuration, task)
        return train_classifier(labeled, out_dir, label_set=label_set, settings=settings, seed=study.seed)[1]

    trained = study.ledger.run(stage_name(configuration, task), train)
    _run_neighbors(study, configuration, task, rows, trained)


def _run_neighbors(study: Study, configuration: str, task: Task, rows: np.ndarray, trained: Classification) -> None:
    """Task 2 with one classifier on the images of `rows`."""
    from pneumoscope.neighbors.knn import find_neighbors
    from pneumoscope.neighbors.map import compute_map

    label_set, labeled, seed = study.tasks[task], study.dataset.select(rows), study.seed
    embeddings = cache(lambda: study.embed(configuration, task, labeled.images))

    def find() -> Neighbors:
        probabilities = trained.evaluations["test"].probabilities
        neighbors = find_neighbors(embeddings(), labeled, label_set=label_set, probabilities=probabilities, seed=seed)
        return replace(neighbors, queries=rows[neighbors.queries], nearest=rows[neighbors.nearest])

    def map_embeddings() -> EmbeddingMap:
        new = study.embed(configuration, task, study.new_images)
        return compute_map(
            embeddings(), labeled, label_set=label_set, seed=seed, new_embeddings=new, new_names=study.new_names
        )

    if "test" in trained.evaluations:
        study.ledger.run(stage_name(configuration, f"neighbors_{task}"), find)
    else:
        study.ledger.leave_out(f"neighbors_{task}", "test has no labeled image")
    study.ledger.run(stage_name(configuration, f"map_{task}"), map_embeddings)


def _run_anomaly(study: Study, configuration: str) -> None:
    """Task 3, if there are normals."""
    from pneumoscope.anomaly.autoencoder import train_anomaly
    from pneumoscope.anomaly.normality_model import fit_normality_model

    settings, out_dir = anomaly_settings(configuration, **study.options), study.model_dir(configuration, "anomaly")
    train = partial(train_anomaly, settings=settings) if settings else fit_normality_model
    try:
        study.ledger.run(
            stage_name(configuration, "anomaly"), lambda: train(study.dataset, out_dir, seed=study.seed)[1]
        )
    except (LabelError, TrainingError) as error:
        study.ledger.leave_out("anomaly", str(error))


def _run_explain(study: Study, configuration: str) -> None:
    """Task 4 with the model of the coarsest task."""
    from pneumoscope.explain.explanation import explain_classifier

    task = next(iter(study.tasks))
    label_set = study.tasks[study.finest if configuration == "default" else task]
    if not is_labeled(study.dataset.split("test").labels(label_set)).any():
        study.ledger.leave_out("explain", "test has no labeled image")
        return
    study.ledger.run(
        stage_name(configuration, "explain"),
        lambda: explain_classifier(
            study.load_model(configuration, task).model, study.dataset, label_set=label_set, seed=study.seed
        ),
    )


def _run_default(study: Study) -> None:
    """Tasks 1 and 2 with one model; the model is also trained with other seeds and without one series of normals."""
    from pneumoscope.classification.classifier import train_classifier
    from pneumoscope.classification.cross_validation import cross_validate, list_series

    for task in reversed(study.tasks):
        _run_classifier(study, "default", task)
    label_set = study.tasks[study.finest]
    labeled = study.dataset.select(is_labeled(study.dataset.labels(label_set)))
    if label_set.classes != KERMANY_LABELS.classes:
        reason = "models of other seeds and without a series of names are trained for the reference data set only"
        study.ledger.leave_out("held_out", reason)
        return
    settings = classifier_settings("default", **study.options)

    def train(seed: int) -> Classification:
        out_dir = other_seed_dir(study.ledger.out_dir, "default", seed)
        return train_classifier(labeled, out_dir, label_set=label_set, settings=settings, seed=seed)[1]

    if len(list_series(labeled)) < 2:
        study.ledger.leave_out("held_out", "the file names of the negative class are of fewer than two series")
    else:
        out_dir = study.model_dir("default", "held_out")
        validate_by_series = partial(
            cross_validate, labeled, out_dir, settings=settings, protocol="series", seed=study.seed
        )
        study.ledger.run(stage_name("default", "held_out"), validate_by_series)
    for seed in (study.seed + step for step in OTHER_SEEDS):
        study.ledger.run(stage_name("default", f"seed_{seed}"), partial(train, seed))


def export_reader(study: Study, configuration: str) -> None:
    """Export the models of a configuration to `OUT/reader`, unless nothing was computed since the last export."""
    from pneumoscope.export.study import export_study

    reader_dir = study.ledger.out_dir / "reader"
    if reader_dir.exists() and not study.ledger.computed:
        return
    try:
        export_study(study.ledger.out_dir, study.dataset, reader_dir, configuration=configuration)
    except (ExportError, MissingExtraError) as error:
        study.ledger.leave_out("reader", str(error))
