"""Training and evaluation of classifiers: normal or pneumonia (1.A); normal, bacterial or viral (1.B)."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError, ModelError, PneumoscopeError, TrainingError
from pneumoscope.io.results import Classification, Evaluation, LearningCurve
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES
from pneumoscope.metrics.classification import evaluate
from pneumoscope.models.card import TrainingRecord
from pneumoscope.models.prediction import predict_classes
from pneumoscope.models.registry import build_architecture
from pneumoscope.models.settings import TrainingSettings, choose_precision, configuration_settings

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.saved_model import SavedModel
    from pneumoscope.models.training import TrainingData

TITLES = {BINARY_CLASSES: "1.A normal or pneumonia", THREE_CLASSES: "1.B normal, bacterial or viral"}


def train_classifier(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    classes: tuple[str, ...] = BINARY_CLASSES,
    settings: TrainingSettings | None = None,
    seed: int = 0,
) -> "tuple[SavedModel, Classification]":
    """Train a classifier of these classes and evaluate it.

    Args:
        dataset: with the splits `train`, `val` and, to evaluate on, `test`.
        out_dir: gets the bundle and the checkpoint of each epoch; an interrupted run continues from there.
        classes: `BINARY_CLASSES` or `THREE_CLASSES`; images of unknown class are left out.
        settings: of the training; the configuration `improved` by default.
        seed: of all random choices.

    Raises:
        TrainingError: if a class is missing from train or validation.
    """
    settings, out_dir, classes = settings or configuration_settings("improved"), Path(out_dir), tuple(classes)
    _check_classes(classes)
    train, validation = (_select_labeled(dataset.split(name), classes) for name in ("train", "val"))
    for name, part in (("train", train), ("val", validation)):
        missing = [classes[number] for number in set(range(len(classes))) - set(part.labels(classes).tolist())]
        if missing:
            raise TrainingError(f"{name} holds no image of class {', '.join(missing)}; expected some of every class")
    bundle, curve = fit_classifier(train, validation, out_dir, classes=classes, settings=settings, seed=seed)
    splits = [name for name in ("val", "test") if len(_select_labeled(dataset.split(name), classes))]
    evaluations = {
        name: evaluate_classifier(bundle.model, dataset, classes=classes, split=name, seed=seed) for name in splits
    }
    return bundle, Classification(classes, bundle.model.count_params(), curve, evaluations)


def fit_classifier(
    train: Dataset,
    validation: Dataset,
    out_dir: Path,
    *,
    classes: tuple[str, ...],
    settings: TrainingSettings,
    seed: int,
) -> "tuple[SavedModel, LearningCurve]":
    """Build a classifier and fit it; see `train_classifier`."""
    import keras

    from pneumoscope.models.saved_model import save_model
    from pneumoscope.models.training import fit_model

    precision = choose_precision()
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(seed)
    binary = classes == BINARY_CLASSES
    loss_class = keras.losses.BinaryCrossentropy if binary else keras.losses.CategoricalCrossentropy
    model = _build_model(classes, settings)
    curve = fit_model(
        model,
        _make_training_data(train, validation, classes, settings),
        settings,
        loss=loss_class(label_smoothing=settings.label_smoothing),
        checkpoint_path=out_dir / "checkpoint.npz",
        seed=seed,
        title=f"{TITLES[classes]}, {settings.configuration}",
    )
    record = TrainingRecord(
        classes=classes,
        embedding_layer="embedding",
        settings=settings.without_paths(),
        precision=precision,
        seed=seed,
        chosen_epoch=curve.chosen_epoch,
        training_data_sha256=hash_table(train),
    )
    return save_model(model, out_dir, record), curve


def _build_model(classes: tuple[str, ...], settings: TrainingSettings) -> "keras.Model":
    reference = "binary" if classes == BINARY_CLASSES else "three_class"
    name = settings.backbone or ("compact_resnet" if settings.configuration == "default" else reference)
    if name not in ("binary", "three_class") and classes != THREE_CLASSES:
        raise TrainingError(
            f"{name} predicts {', '.join(THREE_CLASSES)}; the probabilities of {', '.join(classes)} follow from these"
        )
    options: dict[str, Any] = {"weights": settings.weights} if settings.backbone else {}
    return build_architecture(name, num_outputs=len(classes), size=settings.size, dropout=settings.dropout, **options)


def evaluate_classifier(
    model: "keras.Model",
    dataset: Dataset,
    *,
    classes: tuple[str, ...] = BINARY_CLASSES,
    split: str = "test",
    seed: int = 0,
) -> Evaluation:
    """Evaluate a trained classifier on one split, with 95 % intervals that resample patients.

    With `BINARY_CLASSES`, a classifier of three classes is evaluated on normal against pneumonia.

    Args:
        model: a Keras classifier that takes `(n, H, W, 1)` with values 0 to 255, such as `SavedModel.model`.
        dataset: images of the input size of the model.
        classes: `BINARY_CLASSES` or `THREE_CLASSES`; images without one of these classes are left out.
        split: the split to evaluate on.
        seed: seed of the bootstrap.

    Raises:
        CollectionError: if the split has no image of these classes.
        ImageError: if the images have another size than the model takes.
        ModelError: if the model has fewer outputs than there are classes.
        PneumoscopeError: if `classes` is neither of the two.
    """
    _check_classes(classes)
    if model.output_shape[-1] < len(classes):
        raise ModelError(
            f"the model has {model.output_shape[-1]} outputs; expected {len(classes)}: {', '.join(classes)}"
        )
    part = _select_labeled(dataset.split(split), classes)
    if not len(part):
        splits = ", ".join(sorted(set(dataset.table["split"]) - {""})) or "none"
        raise CollectionError(f"no image of {', '.join(classes)} in the split {split!r}; the dataset has {splits}")
    probabilities = join_probabilities(predict_probabilities(model, part.images), classes)
    return evaluate_dataset(part, probabilities, classes=classes, split=split, seed=seed)


def evaluate_dataset(
    dataset: Dataset, probabilities: np.ndarray, *, classes: tuple[str, ...], split: str, seed: int = 0
) -> Evaluation:
    """Return the metrics of `(n, classes)` probabilities of the images of a dataset, all of known class."""
    return evaluate(
        dataset.labels(classes),
        probabilities,
        classes=classes,
        split=split,
        patients=dataset.patients,
        names=dataset.names,
        seed=seed,
    )


def join_probabilities(probabilities: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Return probabilities of `classes`; from a model of more classes, those of normal and of all others together."""
    if probabilities.shape[1] == len(classes):
        return probabilities
    return np.stack([probabilities[:, 0], 1 - probabilities[:, 0]], axis=1)


def join_pneumonias(trained: Classification, *, seed: int = 0) -> Classification:
    """Return the evaluation of normal against pneumonia of a classifier of three classes."""
    evaluations = {
        name: evaluate(
            (three_class.labels > 0).astype(np.int64),
            join_probabilities(three_class.probabilities, BINARY_CLASSES),
            classes=BINARY_CLASSES,
            split=name,
            patients=three_class.patients,
            names=three_class.names,
            seed=seed,
        )
        for name, three_class in trained.evaluations.items()
    }
    return replace(trained, classes=BINARY_CLASSES, evaluations=evaluations)


def predict_probabilities(model: "keras.Model", images: np.ndarray) -> np.ndarray:
    """Return the probability of each class for `(n, H, W)` uint8 images, `(n, classes)` float32.

    Outputs of the model that do not sum to 1, such as a sigmoid each, are divided by their sum.
    """
    return predict_classes(model, images).astype(np.float32)


def hash_table(dataset: Dataset) -> str:
    """Return one SHA-256 over the hashes and splits of all images."""
    lines = "".join(f"{row.sha256} {row.split}\n" for row in dataset.table.sort_values("name").itertuples())
    return hashlib.sha256(lines.encode()).hexdigest()


def _check_classes(classes: tuple[str, ...]) -> None:
    if tuple(classes) not in TITLES:
        expected = " or ".join(str(known) for known in TITLES)
        raise PneumoscopeError(f"classes are {tuple(classes)}; expected {expected}")


def _select_labeled(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    return dataset.select(dataset.labels(classes) >= 0)


def _make_training_data(
    train: Dataset, validation: Dataset, classes: tuple[str, ...], settings: TrainingSettings
) -> "TrainingData":
    from pneumoscope.models.augmentation import augment_images, mix_pairs
    from pneumoscope.models.training import TrainingData

    labels = train.labels(classes)
    one_hot = np.eye(len(classes), dtype=np.float32)
    rarest = np.bincount(labels, minlength=len(classes)).min()

    def draw_order(rng: np.random.Generator) -> np.ndarray:
        if not settings.balanced:
            return rng.permutation(len(labels))
        sample = [rng.choice(np.flatnonzero(labels == number), rarest, replace=False) for number in range(len(classes))]
        return rng.permutation(np.concatenate(sample))

    def make_batch(indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        images = augment_images(train.images[indices], settings.augmentation, rng)[..., None]
        targets = one_hot[labels[indices]]
        if settings.mixup:
            images, targets = mix_pairs(images, targets, settings.mixup, rng)
        return images, targets

    val_labels = validation.labels(classes)
    weights = np.ones(len(val_labels), dtype=np.float32)
    if settings.balanced:
        weights = (len(val_labels) / (len(classes) * np.bincount(val_labels)))[val_labels].astype(np.float32)
    validating = (validation.images[..., None], one_hot[val_labels], weights)
    return TrainingData(draw_order, make_batch, validating, hash_table(train))
