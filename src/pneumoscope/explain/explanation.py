"""Task 4: heatmaps, feature maps and patches of a trained classifier, with metrics on test images."""

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.classification.classifier import predict_probabilities
from pneumoscope.data.dataset import Dataset
from pneumoscope.explain.centrality import estimate_centrality, estimate_peak_in_lesion
from pneumoscope.explain.methods import explain
from pneumoscope.explain.patches import find_patches, map_features
from pneumoscope.explain.scorer import choose_class, list_layers
from pneumoscope.io.results import Estimate, Explanation
from pneumoscope.labels import BINARY_CLASSES
from pneumoscope.models.linear import copy_linear
from pneumoscope.models.receptive_field import receptive_fields
from pneumoscope.progress import log

if TYPE_CHECKING:
    import keras

EXAMPLES_PER_CLASS = 4
MAX_PATCH_IMAGES = 1000
MAX_LAYERS = 4


def explain_classifier(model: "keras.Model", dataset: Dataset, *, seed: int = 0) -> Explanation:
    """Return heatmaps, feature maps and patches of a classifier of normal against pneumonia.

    Heatmaps are HiResCAM of the predicted class (see `choose_class`), also for wrong predictions. Test metrics use the
    last convolutional layer; metrics with the suffix `_averaged` use Grad-CAM (Selvaraju et al. 2017), as the reference
    study. Heatmaps are shown for at most four evenly spaced convolutional layers, including the last.

    Examples are up to four normals and four pneumonias of test, alternating, correct predictions first; the first
    example of a class has the median probability. Patches come from up to 1,000 images of all splits.

    Args:
        model: built Keras functional classifier of `(n, H, W, 1)` images with values 0 to 255; class 0 is normal, all
            other classes are pneumonia.
        dataset: with a test split. If it has masks, metrics include the pointing game.
        seed: of the sampling of examples and images, and of the bootstrap.

    Raises:
        ValueError: if the model has no convolutional layer or there is no labeled test image.
    """
    layers = _choose_layers(model)
    rows = np.flatnonzero((dataset.table["split"].to_numpy() == "test") & (dataset.labels(BINARY_CLASSES) >= 0))
    if not len(rows):
        raise ValueError("the dataset has 0 labeled test images, expected 1 or more to explain")
    test, rng = dataset.select(rows), np.random.default_rng(seed)
    labels, probabilities = test.labels(BINARY_CLASSES), predict_probabilities(model, test.images)
    classes = choose_class(probabilities)
    examples = _choose_examples(labels, np.stack([probabilities[:, 0], 1 - probabilities[:, 0]], axis=1), rng)
    log.info("computing heatmaps of %d test images at layer %s", len(test), layers[-1])
    metrics = _measure(model, test, labels, classes, layers[-1], seed)
    log.info("searching patches with the highest activation in %s", ", ".join(layers))
    sample = np.sort(rng.permutation(len(dataset))[:MAX_PATCH_IMAGES])
    patches, filters = find_patches(model, dataset.images[sample], layers=layers)
    first_pneumonia = next((example for example in examples if labels[example] == 1), examples[0])
    images, predicted = test.images[examples], classes[examples]
    heatmaps = [explain(model, images, method="hirescam", layer=layer, class_indices=predicted) for layer in layers]
    return Explanation(
        layers=layers,
        images=images.astype(np.float32) / 255,
        labels=labels[examples],
        decisions=np.minimum(predicted, 1),
        examples=rows[examples],
        heatmaps=np.stack(heatmaps, axis=1),
        feature_maps=map_features(model, test.images[first_pneumonia], layers=layers),
        patches=patches,
        patch_filters=filters,
        metrics=metrics,
    )


def _choose_layers(model: "keras.Model") -> tuple[str, ...]:
    layers = list_layers(model)
    return tuple(
        layers[number] for number in np.unique(np.linspace(0, len(layers) - 1, MAX_LAYERS).round().astype(int))
    )


def _choose_examples(labels: np.ndarray, probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return `(e,)` int, indices into `labels`, alternating normal and pneumonia as long as both have images."""
    chosen = []
    for label in (0, 1):
        members = rng.permutation(np.flatnonzero(labels == label))
        correct = probabilities[members].argmax(axis=1) == label
        right, wrong = members[correct], members[~correct]
        median = np.argsort(probabilities[right, label], kind="stable")[len(right) // 2 :][:1]
        chosen.append(np.concatenate([right[median], np.delete(right, median), wrong])[:EXAMPLES_PER_CLASS])
    turns = [(place, label) for label, members in enumerate(chosen) for place in range(len(members))]
    return np.array([chosen[label][place] for place, label in sorted(turns)], dtype=np.int64)


def _measure(
    model: "keras.Model", test: Dataset, labels: np.ndarray, classes: np.ndarray, layer: str, seed: int
) -> dict[str, Estimate]:
    patients = test.patients
    fields = receptive_fields(copy_linear(model), layer)
    detected = (labels == 1) & (classes > 0)
    metrics: dict[str, Estimate] = {}
    for suffix, method in (("", "hirescam"), ("_averaged", "gradcam")):
        heatmaps = explain(model, test.images, method=method, layer=layer, class_indices=classes)
        of_method = estimate_centrality(heatmaps, labels, patients, seed=seed)
        if test.masks is not None:
            masks = test.masks[detected]
            of_method |= estimate_peak_in_lesion(
                heatmaps[detected], masks, patients[detected], fields=fields, seed=seed
            )
        metrics |= {name if name == "lesion_area" else name + suffix: value for name, value in of_method.items()}
    return metrics
