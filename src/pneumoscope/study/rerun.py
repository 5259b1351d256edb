"""Single tasks on new files with the models of a finished study."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.image import load_image
from pneumoscope.data.source import hash_file, printable_name
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.io.results import EmbeddingMap
from pneumoscope.io.study_folder import find_stage, model_dir
from pneumoscope.labels import BINARY_CLASSES, TASK_CLASSES
from pneumoscope.study.pipeline import reopen_study

if TYPE_CHECKING:
    import keras

    from pneumoscope.neighbors.map import Method

Row = dict[str, Any]


@dataclass(frozen=True)
class Rerun:
    """A finished study with one of its classifiers.

    Attributes:
        study_dir: folder of the study.
        configuration: `reference`, `improved` or `default`.
        task: `binary` or `three_class`.
    """

    study_dir: Path
    configuration: str
    task: str = "binary"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the task's classes."""
        return TASK_CLASSES[self.task]

    @cached_property
    def model(self) -> "keras.Model":
        """The study's classifier."""
        from pneumoscope.models.saved_model import load_model

        return load_model(model_dir(self.study_dir, self.configuration, self.task)).model

    @cached_property
    def seed(self) -> int:
        """The study's seed."""
        return int(self._reopened[0]["seed"])

    @cached_property
    def dataset(self) -> Dataset:
        """The labeled images of the study."""
        dataset = self._reopened[1]
        return dataset.select(dataset.labels(self.classes) >= 0)

    @cached_property
    def _reopened(self) -> tuple[dict[str, Any], Dataset]:
        return reopen_study(self.study_dir)

    def load_files(self, paths: Sequence[Path]) -> tuple[np.ndarray, list[Path], list[Row]]:
        """Read files for the classifier, see `load_files`."""
        return load_files(paths, size=self.model.input_shape[1])

    def embed(self, images: np.ndarray) -> np.ndarray:
        """Return the embeddings of images."""
        from pneumoscope.neighbors.knn import embed_images

        return embed_images(self.model, images)

    def classify(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `(n,)` probabilities of pneumonia and `(n,)` int64 predicted classes of some images."""
        from pneumoscope.classification.classifier import predict_probabilities
        from pneumoscope.explain.scorer import choose_class

        probabilities = predict_probabilities(self.model, images)
        return 1 - probabilities[:, 0], choose_class(probabilities)

    def find_patient(self, path: Path) -> str | None:
        """Return the patient of a file by its SHA-256; None if the dataset does not contain the file."""
        digest = hash_file(path)
        patients = self.dataset.table.loc[self.dataset.table["sha256"] == digest, "patient"]
        return None if patients.empty else str(patients.iloc[0])

    def load_map(self) -> EmbeddingMap | None:
        """Return the study's map of these images, or None."""
        embedding_map: EmbeddingMap | None = find_stage(self.study_dir, self.configuration, f"map_{self.task}")
        names = self.dataset.names
        if embedding_map is None or not np.array_equal(embedding_map.names[embedding_map.origins != "new"], names):
            return None
        return embedding_map


@dataclass(frozen=True)
class ExplainedFile:
    """One file with its heatmaps.

    Attributes:
        path: path of the file.
        image: `(H, W)` uint8.
        decision: predicted class, `normal` or `pneumonia`.
        p_pneumonia: probability of pneumonia, in [0, 1].
        heatmaps: `(k, H, W)` floats in [0, 1].
        titles: name of the layer of each heatmap; name of the method if it has no layer.
    """

    path: Path
    image: np.ndarray
    decision: str
    p_pneumonia: float
    heatmaps: np.ndarray
    titles: tuple[str, ...]


def load_files(paths: Sequence[Path], *, size: int) -> tuple[np.ndarray, list[Path], list[Row]]:
    """Read new radiographs.

    Returns:
        The images as `(n, size, size)` uint8, their paths, and a row with `image` and `error` for each unreadable file.

    Raises:
        PneumoscopeError: if no file is readable.
    """
    if not paths:
        raise PneumoscopeError("no image given; expected one or more files")
    images, read, failed = [], [], []
    for path in paths:
        try:
            images.append(load_image(path, size=size))
            read.append(path)
        except ImageError as error:
            failed.append({"image": printable_name(path), "error": str(error)})
    if not images:
        reasons = "; ".join(f"{row['image']}: {row['error']}" for row in failed)
        raise PneumoscopeError(f"no image can be read: {reasons}")
    return np.stack(images), read, failed


def rerun_neighbors(rerun: Rerun, paths: Sequence[Path]) -> list[Row]:
    """Task 2. Return the nearest reference images of each file."""
    from pneumoscope.neighbors.knn import find_similar

    images, read, rows = rerun.load_files(paths)
    dataset, embeddings = rerun.dataset, rerun.embed(rerun.dataset.images)
    labels = dataset.labels(rerun.classes)
    for path, embedding in zip(read, rerun.embed(images), strict=True):
        nearest, distances = find_similar(embedding, embeddings, dataset, patient=rerun.find_patient(path))
        rows += [
            {
                "image": printable_name(path),
                "neighbor": dataset.table["name"][index],
                "class": rerun.classes[labels[index]],
                "distance": round(float(distance), 4),
            }
            for index, distance in zip(nearest, distances, strict=True)
        ]
    return rows


def rerun_map(rerun: Rerun, paths: Sequence[Path], *, method: "Method" = "tsne") -> tuple[EmbeddingMap, list[Row]]:
    """Task 2. Place files on the map, and return the map and the coordinates; t-SNE extends the map of the study."""
    from pneumoscope.neighbors.map import compute_map, extend_map

    dataset, rows, names = rerun.dataset, list[Row](), list[str]()
    embeddings = rerun.embed(dataset.images)
    new = np.empty((0, embeddings.shape[1]), dtype=np.float32)
    if paths:
        images, read, rows = load_files(paths, size=dataset.images.shape[1])
        new, names = rerun.embed(images), [printable_name(path) for path in read]
    finished = rerun.load_map() if method == "tsne" else None
    if finished is not None:
        extended = extend_map(finished, embeddings, new, names, seed=rerun.seed)
    else:
        extended = compute_map(
            embeddings,
            dataset,
            classes=rerun.classes,
            seed=rerun.seed,
            new_embeddings=new,
            new_names=names,
            method=method,
        )
    places = extended.coordinates[extended.origins == "new"]
    rows += [
        {"image": name, "x": round(float(x), 3), "y": round(float(y), 3)}
        for name, (x, y) in zip(names, places, strict=True)
    ]
    return extended, rows


def rerun_anomaly(rerun: Rerun, paths: Sequence[Path]) -> list[Row]:
    """Task 3. Return the anomaly score of each file, and whether `score >= threshold` for each threshold."""
    from pneumoscope.anomaly.registry import load_detector

    detector, thresholds = load_detector(model_dir(rerun.study_dir, rerun.configuration, "anomaly"))
    images, read, rows = load_files(paths, size=detector.image_size)
    for path, score in zip(read, detector.score(images), strict=True):
        flags = {f"over {name}": bool(score >= threshold) for name, threshold in thresholds.items()}
        rows.append({"image": printable_name(path), "score": round(float(score), 6), **flags})
    return rows


def rerun_explain(
    rerun: Rerun, paths: Sequence[Path], *, method: str = "hirescam", layer: str | None = None
) -> tuple[list[ExplainedFile], list[Row]]:
    """Task 4. Return the heatmaps of each file, and the unreadable files.

    Args:
        rerun: the study and its classifier.
        paths: new files.
        method: name of a method of `pneumoscope.explain.methods`.
        layer: layer of the class-activation map; by default every convolutional layer.

    Raises:
        PneumoscopeError: if the method or the layer does not exist, or no file is readable.
    """
    from pneumoscope.explain.methods import LAYER_METHODS, explain
    from pneumoscope.explain.scorer import list_layers

    images, read, failed = rerun.load_files(paths)
    scores, classes = rerun.classify(images)
    layers = ((layer,) if layer else list_layers(rerun.model)) if method in LAYER_METHODS else (None,)
    try:
        maps = [explain(rerun.model, images, method=method, layer=one, class_indices=classes) for one in layers]
    except ValueError as error:
        raise PneumoscopeError(str(error)) from None
    titles = tuple(one or method for one in layers)
    decisions = [BINARY_CLASSES[min(int(number), 1)] for number in classes]
    files = zip(read, images, decisions, scores, np.stack(maps, axis=1), strict=True)
    return [ExplainedFile(path, image, name, float(p), heat, titles) for path, image, name, p, heat in files], failed


def rerun_contrast(rerun: Rerun, paths: Sequence[Path]) -> list[Row]:
    """Task 4. Compare each file with the nearest training images of the other class.

    Returns:
        Rows with the `image`, its `decision`, the `nearest_of_the_other_class` and its `distance`. Each quarter of the
        lungs also has the difference in brightness to the nearest five images, in standard deviations of an image.

    Raises:
        PneumoscopeError: if no file is readable.
    """
    from pneumoscope.explain.counterfactual import contrast_with_other_class

    images, read, rows = rerun.load_files(paths)
    dataset, embeddings = rerun.dataset, rerun.embed(rerun.dataset.images)
    labels = np.minimum(rerun.classify(images)[1], 1).tolist()
    for path, image, embedding, label in zip(read, images, rerun.embed(images), labels, strict=True):
        patient = rerun.find_patient(path)
        contrast = contrast_with_other_class(
            image, embedding, label=label, embeddings=embeddings, dataset=dataset, patient=patient
        )
        rows.append(
            {
                "image": printable_name(path),
                "decision": BINARY_CLASSES[label],
                "nearest_of_the_other_class": dataset.table["name"][contrast.rows[0]],
                "distance": round(float(contrast.distances[0]), 4),
                **{f"whiter, {region}": round(float(value), 2) for region, value in contrast.brightness.items()},
            }
        )
    return rows
