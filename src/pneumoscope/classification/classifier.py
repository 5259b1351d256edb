"""Training and evaluation of classifiers of any classes or findings."""

import hashlib
import os
import statistics
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.duplicates import KNOWN_NAME, write_known_images
from pneumoscope.data.splits import check_contradictions
from pneumoscope.errors import CollectionError, TrainingError
from pneumoscope.io.results import Classification, Evaluation, LearningCurve
from pneumoscope.labels import UNKNOWN, LabelSet
from pneumoscope.metrics.classification import evaluate
from pneumoscope.models.card import TrainingRecord
from pneumoscope.models.prediction import describe_constant_output, predict_probabilities
from pneumoscope.models.registry import build_architecture
from pneumoscope.models.settings import TrainingSettings, choose_precision, configuration_settings
from pneumoscope.progress import log

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.saved_model import SavedModel
    from pneumoscope.models.training import TrainingData

MAX_NAMED = 4


def train_classifier(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    label_set: LabelSet | None = None,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    init_from: str | os.PathLike[str] | None = None,
    tensorboard: Path | None = None,
) -> "tuple[SavedModel, Classification]":
    """Train a classifier and evaluate it on validation and test.

    Args:
        dataset: with the splits `train`, `val` and optionally `test`.
        out_dir: folder for the saved model and a checkpoint per epoch; an interrupted run resumes from it.
        label_set: the classes; by default those of the dataset. Images of no such class are left out.
        settings: training settings; the configuration `improved` by default.
        seed: random seed.
        init_from, tensorboard: see `fit_model`.

    Returns:
        The saved model, and the learning curve with the evaluation of each split.

    Raises:
        TrainingError: if a class is missing from train or validation, or if a finding is on none or on all of the
            training images.
        CollectionError: if an image has two labels.
    """
    settings, out_dir = settings or configuration_settings("improved"), Path(out_dir)
    label_set = label_set or dataset.label_set
    check_contradictions(dataset.table, dataset.label_set)
    parts = {name: select_labeled(dataset.split(name), label_set) for name in ("train", "val", "test")}
    _check_parts(parts, label_set)
    bundle, curve = fit_classifier(
        parts["train"],
        parts["val"],
        out_dir,
        label_set=label_set,
        settings=settings,
        seed=seed,
        init_from=init_from,
        tensorboard=tensorboard,
    )
    evaluations = {
        name: evaluate_classifier(
            bundle.model, parts[name], label_set=label_set, split=name, seed=seed, mirror=settings.mirror
        )
        for name in ("val", "test")
        if len(parts[name])
    }
    constant = describe_constant_output(evaluations["val"].probabilities, parts["val"].images)
    if constant:
        log.warning("%s", constant)
    return bundle, Classification(label_set, bundle.model.count_params(), curve, evaluations)


def fit_classifier(
    train: Dataset,
    validation: Dataset,
    out_dir: Path,
    *,
    label_set: LabelSet,
    settings: TrainingSettings,
    seed: int,
    init_from: str | os.PathLike[str] | None = None,
    tensorboard: Path | None = None,
) -> "tuple[SavedModel, LearningCurve]":
    """Build and fit a classifier, without an evaluation.

    Args:
        train: training images, all of one of the classes.
        validation: validation images, all of one of the classes.
        out_dir: folder for the saved model and a checkpoint per epoch.
        label_set: the classes.
        settings: training settings.
        seed: random seed.
        init_from, tensorboard: see `fit_model`.
    """
    import keras

    from pneumoscope.classification.losses import build_loss
    from pneumoscope.models.flatten import find_embedding_layer
    from pneumoscope.models.saved_model import save_model
    from pneumoscope.models.training import fit_model

    precision = choose_precision()
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(seed)
    model, activation = _build_model(label_set, settings)
    balanced, smoothing = _needs_weights(label_set, settings), settings.label_smoothing
    labels, count = train.labels(label_set), len(label_set.classes)
    loss = build_loss(labels, count, activation=activation, label_smoothing=smoothing, balanced=balanced)
    data = _make_training_data(train, validation, label_set, settings)
    curve = fit_model(
        model,
        data,
        settings,
        loss=loss,
        checkpoint_path=out_dir / "checkpoint.npz",
        seed=seed,
        title=f"{name_classes(label_set)}, {settings.configuration}",
        init_from=init_from,
        tensorboard=tensorboard,
    )
    record = TrainingRecord(
        label_set=label_set,
        embedding_layer=find_embedding_layer(model),
        settings=settings.without_paths(),
        precision=precision,
        seed=seed,
        chosen_epoch=curve.chosen_epoch,
        training_data_sha256=hash_table(train),
        init_from=None if init_from is None else Path(init_from).name,
    )
    write_known_images(train, out_dir / KNOWN_NAME)
    return save_model(model, out_dir, record), curve


def evaluate_classifier(
    model: "keras.Model",
    dataset: Dataset,
    *,
    label_set: LabelSet,
    split: str = "test",
    seed: int = 0,
    mirror: bool = False,
) -> Evaluation:
    """Evaluate a trained classifier on one split, with 95 % intervals by bootstrap over patients.

    Args:
        model: a Keras classifier that takes `(n, H, W, channels)` with values 0 to 255, such as `SavedModel.model`.
        dataset: images of the input size of the model.
        label_set: the classes of the model, in the order of its outputs; images of no such class are left out.
        split: the split to evaluate on.
        seed: seed of the bootstrap.
        mirror: see `predict_probabilities`.

    Raises:
        CollectionError: if the split has no image of these classes.
        ImageError: if the images have another size than the model takes.
        ModelError: if the numbers of outputs and of classes differ.
    """
    part = select_labeled(dataset.split(split), label_set)
    if not len(part):
        splits = ", ".join(sorted(set(dataset.table["split"]) - {""})) or "none"
        raise CollectionError(
            f"no image of {', '.join(label_set.classes)} in the split {split!r}; the dataset has {splits}"
        )
    probabilities = predict_probabilities(model, part.images, label_set, mirror=mirror)
    return evaluate_dataset(part, probabilities, label_set=label_set, split=split, seed=seed)


def evaluate_dataset(
    dataset: Dataset, probabilities: np.ndarray, *, label_set: LabelSet, split: str, seed: int = 0
) -> Evaluation:
    """Return the metrics of probabilities for the images of a dataset.

    Args:
        dataset: images, all of one of the classes.
        probabilities: `(n, classes)` floats in [0, 1]; rows of a single-label set sum to 1.
        label_set: the classes, in the order of the columns.
        split: name of the split.
        seed: of the bootstrap.
    """
    return evaluate(
        dataset.labels(label_set),
        probabilities,
        label_set=label_set,
        split=split,
        patients=dataset.patients,
        names=dataset.names,
        seed=seed,
    )


def join_positives(trained: Classification, *, seed: int = 0) -> Classification:
    """Return the evaluation of a classifier on the negative class against all others."""
    fine, binary = trained.label_set, trained.label_set.binary()
    evaluations = {}
    for name, evaluation in trained.evaluations.items():
        positive = fine.score_positive(evaluation.probabilities)
        evaluations[name] = evaluate(
            (evaluation.labels != fine.classes.index(binary.classes[0])).astype(np.int64),
            np.stack([1 - positive, positive], axis=1),
            label_set=binary,
            split=name,
            patients=evaluation.patients,
            names=evaluation.names,
            seed=seed,
        )
    return replace(trained, label_set=binary, evaluations=evaluations)


def select_labeled(dataset: Dataset, label_set: LabelSet) -> Dataset:
    """Return the images of a class, or with a known label of a finding; the others are counted in the log."""
    labels = dataset.labels(label_set)
    rows = (labels != UNKNOWN).any(axis=1) if label_set.multi_label else labels != UNKNOWN
    if rows.all():
        return dataset
    split = ", ".join(sorted(set(dataset.table["split"].astype(str)) - {""})) or "the data set"
    log.info("%s: %d of %d images left out, none of %s", split, (~rows).sum(), len(rows), name_classes(label_set))
    return dataset.select(rows)


def name_classes(label_set: LabelSet) -> str:
    """Return the classes for a title.

    Example:
        >>> name_classes(LabelSet(("well", "flu", "cold")))
        'well, flu or cold'
        >>> name_classes(LabelSet(tuple("abcdef"), multi_label=True))
        '6 findings'
    """
    if len(label_set.classes) > MAX_NAMED:
        return f"{len(label_set.classes)} {'findings' if label_set.multi_label else 'classes'}"
    *others, last = label_set.classes
    return f"{', '.join(others)} or {last}" if others else last


def hash_table(dataset: Dataset) -> str:
    """Return a SHA-256 of the file hashes, patients, labels and splits of all images."""
    columns = ["sha256", "patient", "label", "uncertain", "split"]
    table = dataset.table.sort_values("name").reindex(columns=columns, fill_value="")
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


def _check_parts(parts: dict[str, Dataset], label_set: LabelSet) -> None:
    for split, part in parts.items():
        labels = part.labels(label_set)
        if label_set.multi_label:
            missing = [
                name
                for name, column in zip(label_set.classes, labels.T, strict=True)
                if not {0, 1} <= set(column.tolist())
            ]
            problem = "no images both with and without", "images with and without every finding"
        else:
            missing = [name for number, name in enumerate(label_set.classes) if number not in labels]
            problem = "no images of class", "images of every class"
        if not missing:
            continue
        if split == "train" or (split == "val" and not (label_set.multi_label and len(part))):
            raise TrainingError(
                f"{split} has {problem[0]} {', '.join(missing)}; expected {problem[1]}. Add images, or leave classes "
                "out with --classes"
            )
        if len(part):
            log.warning("%s has %s %s: their metrics are not defined", split, problem[0], ", ".join(missing))


def _build_model(label_set: LabelSet, settings: TrainingSettings) -> "tuple[keras.Model, str]":
    """Return a new model and the activation of its last layer."""
    own = "reference-binary" if label_set.task == "binary" else "reference-multiclass"
    name = settings.architecture or own
    activation = "sigmoid" if label_set.multi_label or name == "reference-binary" else "softmax"
    pretrained: dict[str, Any] = {"weights": settings.weights} if settings.weights else {}
    model = build_architecture(
        name,
        num_outputs=len(label_set.classes),
        size=settings.size,
        activation=activation,
        dropout=settings.dropout,
        **pretrained,
    )
    return model, activation


def _draws_equally(label_set: LabelSet, settings: TrainingSettings) -> bool:
    """Return whether an epoch has the same number of images of every class; findings are weighted instead."""
    return settings.balanced and not label_set.multi_label


def _needs_weights(label_set: LabelSet, settings: TrainingSettings) -> bool:
    wanted = settings.balanced or settings.class_weights == "balanced"
    return wanted and not _draws_equally(label_set, settings)


def draw_balanced(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return `(m,)` int, rows in random order with equally many of every class in `(n,)` int labels.

    The number per class is the lower median of the classes. Images of a rarer class repeat.
    """
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    count = statistics.median_low(len(of_class) for of_class in rows)
    return rng.permutation(np.concatenate([np.resize(rng.permutation(of_class), count) for of_class in rows]))


def _make_training_data(
    train: Dataset, validation: Dataset, label_set: LabelSet, settings: TrainingSettings
) -> "TrainingData":
    from pneumoscope.classification.losses import encode_targets
    from pneumoscope.models.augmentation import augment_images
    from pneumoscope.models.training import TrainingData

    num_classes = len(label_set.classes)
    labels, val_labels = train.labels(label_set), validation.labels(label_set)
    encoded = encode_targets(labels, num_classes)
    balanced = _draws_equally(label_set, settings)

    def draw_order(rng: np.random.Generator) -> np.ndarray:
        return draw_balanced(labels, rng) if balanced else rng.permutation(len(labels))

    def make_batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return augment_images(train.images[indices], settings.augmentation, rng)[..., None], encoded[indices]

    weights = np.ones(len(val_labels), dtype=np.float32)
    if balanced:
        weights = (len(val_labels) / (num_classes * np.bincount(val_labels)))[val_labels].astype(np.float32)
    validating = (validation.images[..., None], encode_targets(val_labels, num_classes), weights)
    return TrainingData(draw_order, make_batch, validating, hash_table(train))
