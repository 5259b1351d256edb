"""All of task 4 in one call, on a trained net and the images it was tested on."""

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.models.geometry import receptive_fields
from pneumoscope.models.linear import copy_linear
from pneumoscope.progress import log
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import BINARY_CLASSES, Estimate, Explanation
from pneumoscope.tasks.classify import predict_probabilities
from pneumoscope.tasks.explain.centrality import estimate_centrality, estimate_peak_in_lesion
from pneumoscope.tasks.explain.gradcam import compute_gradcam
from pneumoscope.tasks.explain.patches import find_patches, map_features
from pneumoscope.tasks.explain.scorer import list_layers

if TYPE_CHECKING:
    import keras

EXAMPLES_PER_CLASS = 4
MAX_PATCH_IMAGES = 1000


def explain_classifier(model: "keras.Model", dataset: Dataset, *, seed: int = 0) -> Explanation:
    """Return why the net of task 1.A decides as it does.

    Heat-maps are of the class that the net decided, so that they show what a reader of its decision would be
    shown, mistakes included; gradients are taken place by place (see `compute_gradcam`). Figures over the
    test images are of the last convolutional layer, whose features are most of a whole while a place can
    still be told (Selvaraju et al. 2017). Each is given once more under its name with `_averaged`, for
    Grad-CAM as published, which is what the paper looked at.

    The examples are up to four normals and four pneumonias of the test split in turn, rightly decided ones
    first, and in front of each class the one whose probability is the median of the rightly decided.
    The patches come from up to 1,000 images of all splits.

    Args:
        model: a built Keras functional classifier of normal against pneumonia, with values 0 to 255 as input.
        dataset: with a test split; where it has masks, peaks are held against the true lesions.
        seed: of the choice of examples and images, and of the resampling behind the intervals.

    Raises:
        ValueError: if the model has no convolutional layer or there is no labelled test image.
    """
    layers = list_layers(model)
    labels = dataset.labels(BINARY_CLASSES)
    rows = np.flatnonzero((dataset.table["split"].to_numpy() == "test") & (labels >= 0))
    if not len(rows):
        raise ValueError("the dataset has 0 labelled test images, expected 1 or more to explain")
    test, labels = dataset.select(rows), labels[rows]
    probabilities = predict_probabilities(model, test.images)
    decisions = probabilities.argmax(axis=1)
    rng = np.random.default_rng(seed)
    examples = _choose_examples(labels, probabilities, rng)
    log.info("heat-maps of %d test images in %s", len(test), layers[-1])
    metrics = _measure(model, test, labels, decisions, layers[-1], seed)
    log.info("patches that excite the filters of %s most", ", ".join(layers))
    some = np.sort(rng.permutation(len(dataset))[:MAX_PATCH_IMAGES])
    patches, filters = find_patches(model, dataset.images[some], layers=layers)
    first_sick = next((example for example in examples if labels[example] == 1), examples[0])
    shown, decided = test.images[examples], decisions[examples]
    heatmaps = [compute_gradcam(model, shown, layer=layer, class_indices=decided) for layer in layers]
    return Explanation(
        layers=layers,
        images=shown.astype(np.float32) / 255,
        labels=labels[examples],
        decisions=decided,
        examples=rows[examples],
        heatmaps=np.stack(heatmaps, axis=1),
        feature_maps=map_features(model, test.images[first_sick], layers=layers),
        patches=patches,
        patch_filters=filters,
        metrics=metrics,
    )


def _choose_examples(labels: np.ndarray, probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return `(e,)` int, index into `labels`: normal and pneumonia in turn while both last."""
    chosen = []
    for label in (0, 1):
        members = rng.permutation(np.flatnonzero(labels == label))
        rightly = probabilities[members].argmax(axis=1) == label
        right, wrong = members[rightly], members[~rightly]
        median = np.argsort(probabilities[right, label], kind="stable")[len(right) // 2 :][:1]
        chosen.append(np.concatenate([right[median], np.delete(right, median), wrong])[:EXAMPLES_PER_CLASS])
    turns = [(place, label) for label, members in enumerate(chosen) for place in range(len(members))]
    return np.array([chosen[label][place] for place, label in sorted(turns)], dtype=np.int64)


def _measure(
    model: "keras.Model", test: Dataset, labels: np.ndarray, decisions: np.ndarray, layer: str, seed: int
) -> dict[str, Estimate]:
    patients = test.table["patient"].to_numpy().astype(str)
    fields = receptive_fields(copy_linear(model), layer)
    found = (labels == 1) & (decisions == 1)
    metrics: dict[str, Estimate] = {}
    for suffix, averaged in (("", False), ("_averaged", True)):
        heatmaps = compute_gradcam(model, test.images, layer=layer, class_indices=decisions, average_gradients=averaged)
        figures = estimate_centrality(heatmaps, labels, patients, seed=seed)
        if test.masks is not None:
            masks = test.masks[found]
            figures |= estimate_peak_in_lesion(heatmaps[found], masks, patients[found], fields=fields, seed=seed)
        metrics |= {name if name == "lesion_area" else name + suffix: figure for name, figure in figures.items()}
    return metrics
