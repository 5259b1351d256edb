"""One task alone, on the models that a study left: again on its test images, or on new files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.archive import load_result
from pneumoscope.errors import PneumoscopeError
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.radiographs.image import load_image
from pneumoscope.radiographs.source import hash_file, printable_name
from pneumoscope.results import BINARY_CLASSES, EmbeddingMap, Estimate
from pneumoscope.study import CLASSES, find_model, reopen_study

if TYPE_CHECKING:
    from pneumoscope.models.bundle import Bundle
    from pneumoscope.tasks.map import Method

Row = dict[str, Any]


@dataclass(frozen=True)
class Revisit:
    """A study, opened for one task with the model of one recipe.

    Attributes:
        study_dir: folder that the study left.
        profile: `paper`, `best` or `flagship`.
    """

    study_dir: Path
    profile: str

    def load_bundle(self, name: str) -> "Bundle":
        """Return one of the study's classifiers: `binary` or `three_class`."""
        from pneumoscope.models.bundle import load_bundle

        return load_bundle(self.model_dir(name))

    def model_dir(self, name: str) -> Path:
        """Return the folder of one of the study's models, `anomaly` or a classifier."""
        return find_model(self.study_dir, self.profile, name)

    def load_dataset(self, classes: tuple[str, ...]) -> tuple[Dataset, int]:
        """Return the study's images of known class, and its seed."""
        request, dataset = reopen_study(self.study_dir)
        return dataset.select(dataset.labels(classes) >= 0), request["seed"]

    def load_map(self, task: str, dataset: Dataset) -> EmbeddingMap | None:
        """Return the map that the study drew of these images, if it did."""
        path = self.study_dir / "stages" / f"{self.profile}-map_{task}.npz"
        if not path.exists():
            return None
        drawn: EmbeddingMap = load_result(path)
        same = np.array_equal(drawn.names[drawn.origins != "new"], dataset.table["name"].to_numpy().astype(str))
        return drawn if same else None


def load_files(paths: Sequence[Path], *, size: int) -> tuple[np.ndarray, list[Path], list[Row]]:
    """Read new radiographs.

    Returns:
        `(n, size, size)` uint8; their paths; and `image` and `error` of each file that cannot be read.

    Raises:
        PneumoscopeError: if none can be read.
    """
    from pneumoscope.errors import ImageError

    images, read, failed = [], [], []
    for path in paths:
        try:
            images.append(np.rint(load_image(path, size=size) * 255).astype(np.uint8))
            read.append(path)
        except ImageError as error:
            failed.append({"image": printable_name(path), "error": str(error)})
    if not paths:
        raise PneumoscopeError("no image was named; expected one or more files")
    if not images:
        raise PneumoscopeError(
            "no image can be read: " + "; ".join(f"{row['image']}: {row['error']}" for row in failed)
        )
    return np.stack(images), read, failed


def revisit_neighbors(revisit: Revisit, task: str, paths: Sequence[Path]) -> tuple[dict[str, Estimate], list[Row]]:
    """Task 2. Return the test figures without `paths`, else the nearest known images of each file."""
    from pneumoscope.tasks.classify import predict_probabilities
    from pneumoscope.tasks.neighbors import embed_images, find_neighbors, find_similar

    classes = CLASSES[task]
    model = revisit.load_bundle(task).model
    dataset, seed = revisit.load_dataset(classes)
    embeddings = embed_images(model, dataset.images)
    if not paths:
        probabilities = predict_probabilities(model, dataset.split("test").images)
        found = find_neighbors(embeddings, dataset, classes=classes, net_probabilities=probabilities, seed=seed)
        return {**found.evaluations["test"].metrics, "agreement": found.agreement}, []
    images, read, rows = load_files(paths, size=dataset.images.shape[1])
    labels = dataset.labels(classes)
    for path, embedding in zip(read, embed_images(model, images), strict=True):
        indices, distances = find_similar(embedding, embeddings, dataset, patient=_find_patient(path, dataset))
        rows += [
            {
                "image": printable_name(path),
                "neighbor": dataset.table["name"][index],
                "class": classes[labels[index]],
                "distance": round(float(distance), 4),
            }
            for index, distance in zip(indices, distances, strict=True)
        ]
    return {}, rows


def _find_patient(path: Path, dataset: Dataset) -> str | None:
    """Return the patient of a file that is part of the dataset, by its bytes; None for any other file."""
    digest = hash_file(path)
    known = dataset.table.loc[dataset.table["sha256"] == digest, "patient"]
    return None if known.empty else str(known.iloc[0])


def revisit_map(
    revisit: Revisit, task: str, paths: Sequence[Path], out_dir: Path, *, method: "Method" = "tsne"
) -> tuple[Path, list[Row]]:
    """Task 2. Draw the map with the files marked on it; return the picture and where each file fell.

    The t-SNE map of the study is taken as it is, where the study has drawn it.
    """
    from pneumoscope.report.figures.neighbors import describe_map, plot_map
    from pneumoscope.report.figures.palette import save_figure
    from pneumoscope.tasks import map as task_map
    from pneumoscope.tasks.neighbors import embed_images

    classes = CLASSES[task]
    model = revisit.load_bundle(task).model
    dataset, seed = revisit.load_dataset(classes)
    rows: list[Row] = []
    names: list[str] = []
    embeddings = embed_images(model, dataset.images)
    new_embeddings = np.empty((0, embeddings.shape[1]), dtype=np.float32)
    if paths:
        images, read, rows = load_files(paths, size=dataset.images.shape[1])
        new_embeddings, names = embed_images(model, images), [printable_name(path) for path in read]
    kept = revisit.load_map(task, dataset) if method == "tsne" else None
    if kept is not None:
        drawn = task_map.extend_map(kept, embeddings, new_embeddings, names, seed=seed)
    else:
        drawn = task_map.compute_map(
            embeddings,
            dataset,
            classes=classes,
            seed=seed,
            new_embeddings=new_embeddings,
            new_names=names,
            method=method,
        )
    stem = out_dir / f"{revisit.profile}-map_{task}"
    save_figure(
        plot_map(drawn, title=f"Map of {task}, {revisit.profile}"),
        stem,
        note=RESEARCH_USE_ONLY,
        description=describe_map(drawn),
    )
    new = drawn.coordinates[drawn.origins == "new"]
    rows += [
        {"image": name, "x": round(float(x), 3), "y": round(float(y), 3)}
        for name, (x, y) in zip(names, new, strict=True)
    ]
    return stem.with_suffix(".png"), rows


def revisit_anomaly(revisit: Revisit, paths: Sequence[Path]) -> tuple[dict[str, Estimate], list[Row]]:
    """Task 3. Return the test figures without `paths`, else the score of each file beside the thresholds."""
    from pneumoscope.evaluation.metrics import evaluate_scores
    from pneumoscope.tasks.anomaly.registry import load_detector

    detector, thresholds = load_detector(revisit.model_dir("anomaly"))
    if not paths:
        dataset, seed = revisit.load_dataset(BINARY_CLASSES)
        test = dataset.split("test")
        patients = test.table["patient"].to_numpy()
        labels, scores = test.labels(BINARY_CLASSES), detector.score(test.images)
        return evaluate_scores(labels, scores, thresholds, patients=patients, seed=seed), []
    images, read, rows = load_files(paths, size=detector.image_size)
    for path, score in zip(read, detector.score(images), strict=True):
        flags = {f"over {name}": bool(score >= threshold) for name, threshold in thresholds.items()}
        rows.append({"image": printable_name(path), "score": round(float(score), 6), **flags})
    return {}, rows


def revisit_explain(
    revisit: Revisit, paths: Sequence[Path], out_dir: Path, *, method: str = "hirescam", layer: str | None = None
) -> tuple[dict[str, Estimate], list[Row]]:
    """Task 4. Return the test figures without `paths`, else write each file's heat-maps and return where.

    Args:
        revisit: the study and the recipe.
        paths: new files.
        out_dir: where pictures of them go.
        method: of the heat-maps, see `pneumoscope.tasks.explain.methods`.
        layer: for class-activation maps, the layer to look through; by default all that can be.

    Raises:
        PneumoscopeError: if the method or the layer is not there, or no file can be read.
    """
    from pneumoscope.report.figures.explain import draw_heatmaps
    from pneumoscope.report.figures.palette import save_figure
    from pneumoscope.tasks.classify import predict_probabilities
    from pneumoscope.tasks.explain.explanation import explain_classifier
    from pneumoscope.tasks.explain.methods import LAYER_METHODS, explain
    from pneumoscope.tasks.explain.scorer import choose_class, list_layers

    model = revisit.load_bundle("binary").model
    if not paths:
        dataset, seed = revisit.load_dataset(BINARY_CLASSES)
        return explain_classifier(model, dataset, seed=seed).metrics, []
    images, read, rows = load_files(paths, size=model.input_shape[1])
    probabilities = predict_probabilities(model, images)
    classes = choose_class(probabilities)
    views = ((layer,) if layer else list_layers(model)) if method in LAYER_METHODS else (None,)
    try:
        maps = [explain(model, images, method=method, layer=view, class_indices=classes) for view in views]
    except ValueError as error:
        raise PneumoscopeError(str(error)) from None
    names = [view or method for view in views]
    for number, path in enumerate(read):
        decision = BINARY_CLASSES[min(int(classes[number]), 1)]
        heatmaps = np.stack([heatmaps[number] for heatmaps in maps])
        figure = draw_heatmaps(images[number] / 255, heatmaps, names, title=f"{path.name}: {decision}")
        stem = out_dir / f"{number + 1:03d}-{path.stem}"
        description = f"{method}, {', '.join(names)}, over {path.name}, which the net called {decision}."
        save_figure(figure, stem, note=RESEARCH_USE_ONLY, description=description)
        rows.append(
            {
                "image": printable_name(path),
                "decision": decision,
                "p_pneumonia": round(float(1 - probabilities[number, 0]), 4),
                "heatmaps": str(stem.with_suffix(".png")),
            }
        )
    return {}, rows


def revisit_contrast(revisit: Revisit, paths: Sequence[Path]) -> list[Row]:
    """Task 4. Return for each file the nearest training image of the class that it was not given, and what differs.

    Args:
        revisit: the study and the recipe.
        paths: new files.

    Returns:
        Rows with the `image`, its `decision`, the `nearest_of_the_other_class` with its `distance`, and for each
        quarter of the lungs how much whiter the image is than the nearest five, in standard deviations of a film.

    Raises:
        PneumoscopeError: if no file can be read.
    """
    from pneumoscope.tasks.classify import predict_probabilities
    from pneumoscope.tasks.explain.counterfactual import contrast_with_other_class
    from pneumoscope.tasks.explain.scorer import choose_class
    from pneumoscope.tasks.neighbors import embed_images

    model = revisit.load_bundle("binary").model
    images, read, rows = load_files(paths, size=model.input_shape[1])
    dataset, _ = revisit.load_dataset(BINARY_CLASSES)
    known, own = embed_images(model, dataset.images), embed_images(model, images)
    decisions = np.minimum(choose_class(predict_probabilities(model, images)), 1)
    for number, path in enumerate(read):
        label = int(decisions[number])
        found = contrast_with_other_class(
            images[number],
            own[number],
            label=label,
            embeddings=known,
            dataset=dataset,
            patient=_find_patient(path, dataset),
        )
        rows.append(
            {
                "image": printable_name(path),
                "decision": BINARY_CLASSES[label],
                "nearest_of_the_other_class": dataset.table["name"][found.rows[0]],
                "distance": round(float(found.distances[0]), 4),
                **{f"whiter, {region}": round(float(value), 2) for region, value in found.brightness.items()},
            }
        )
    return rows
