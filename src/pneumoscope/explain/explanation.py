"""Task 4: heatmaps, feature maps and patches of a trained classifier, with metrics on test images."""

from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import is_labeled, label_positive, simplify_labels, take_turns
from pneumoscope.explain.centrality import estimate_centrality, estimate_peak_in_lesion
from pneumoscope.explain.methods import explain
from pneumoscope.explain.patches import find_patches, map_features
from pneumoscope.explain.scorer import choose_class, choose_finding, list_layers, score_findings
from pneumoscope.io.results import Estimate, Explanation
from pneumoscope.labels import UNKNOWN, LabelSet
from pneumoscope.models.prediction import predict_probabilities
from pneumoscope.progress import log

if TYPE_CHECKING:
    import keras

NUM_EXAMPLES, MAX_EXAMPLES = 8, 12
MAX_PATCH_IMAGES = 1000
MAX_LAYERS = 4


def explain_classifier(model: "keras.Model", dataset: Dataset, *, label_set: LabelSet, seed: int = 0) -> Explanation:
    """Return heatmaps, feature maps and patches of a classifier.

    Heatmaps are HiResCAM of the predicted class (see `choose_class`), also for wrong predictions. Test metrics use the
    last convolutional layer; metrics with the suffix `_averaged` use Grad-CAM (Selvaraju et al. 2017), as the reference
    study. Centrality compares normals with other images. Heatmaps are shown for at most four evenly spaced
    convolutional layers, including the last.

    Examples are 8 to 12 images of test that alternate between the classes, correct predictions first; the first example
    of a class has the median probability. Patches come from up to 1,000 images of all splits.

    Args:
        model: built Keras functional classifier of `(n, H, W, 1)` images with values 0 to 255.
        dataset: with a test split. If it has masks, metrics include the pointing game.
        label_set: the classes of the model.
        seed: of the sampling of examples and images, and of the bootstrap.

    Raises:
        ValueError: if the model has no convolutional layer or there is no labeled test image.
    """
    layers = _choose_layers(model)
    rows = np.flatnonzero((dataset.table["split"].to_numpy() == "test") & is_labeled(dataset.labels(label_set)))
    if not len(rows):
        raise ValueError("the dataset has 0 labeled test images, expected 1 or more to explain")
    test, rng = dataset.select(rows), np.random.default_rng(seed)
    labels, probabilities = test.labels(label_set), predict_probabilities(model, test.images, label_set)
    classes = choose_class(probabilities, label_set)
    examples = _choose_examples(labels, probabilities, label_set, rng)
    log.info("computing heatmaps of %d test images at layer %s", len(test), layers[-1])
    metrics = _measure(model, test, probabilities, label_set, layers[-1], seed)
    log.info("searching patches with the highest activation in %s", ", ".join(layers))
    sample = np.sort(rng.permutation(len(dataset))[:MAX_PATCH_IMAGES])
    patches, filters = find_patches(model, dataset.images[sample], layers=layers)
    positive = label_positive(test)
    mapped = next((example for example in examples if positive[example] == 1), examples[0])
    images, predicted = test.images[examples], classes[examples]
    heatmaps = [explain(model, images, method="hirescam", layer=layer, class_indices=predicted) for layer in layers]
    return Explanation(
        layers=layers,
        label_set=label_set,
        images=images.astype(np.float32) / 255,
        labels=_name_one(labels[examples], predicted),
        decisions=predicted,
        examples=rows[examples],
        heatmaps=np.stack(heatmaps, axis=1),
        feature_maps=map_features(model, test.images[mapped], layers=layers),
        patches=patches,
        patch_filters=filters,
        metrics=metrics,
    )


def _choose_layers(model: "keras.Model") -> tuple[str, ...]:
    layers = list_layers(model)
    return tuple(
        layers[number] for number in np.unique(np.linspace(0, len(layers) - 1, MAX_LAYERS).round().astype(int))
    )


def _name_one(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return `(e,)` int, the class of each image; multi-label: the predicted finding if present, else another or -1."""
    if labels.ndim == 1:
        return labels
    others = np.where((labels == 1).any(axis=1), (labels == 1).argmax(axis=1), UNKNOWN)
    return np.where(labels[np.arange(len(labels)), predicted] == 1, predicted, others)


def _choose_examples(
    labels: np.ndarray, probabilities: np.ndarray, label_set: LabelSet, rng: np.random.Generator
) -> np.ndarray:
    """Return `(e,)` int, indices into `labels`, alternating between the classes as long as they have images."""
    shown, names = simplify_labels(labels, label_set)
    decided = choose_class(probabilities, label_set)
    if label_set.multi_label:
        highest = probabilities.max(axis=1)
        correct = np.where(highest >= 0.5, labels[np.arange(len(labels)), decided] == 1, shown == 0)
        scores = np.repeat(highest[:, None], len(names), axis=1)
    else:
        correct, scores = decided == labels, probabilities
    chosen = []
    for label in range(len(names)):
        members = rng.permutation(np.flatnonzero(shown == label))
        right, wrong = members[correct[members]], members[~correct[members]]
        median = np.argsort(scores[right, label], kind="stable")[len(right) // 2 :][:1]
        in_order = np.concatenate([right[median], np.delete(right, median), wrong])
        chosen.append(in_order[: max(1, NUM_EXAMPLES // len(names))])
    return take_turns(chosen)[:MAX_EXAMPLES]


def _measure(
    model: "keras.Model", test: Dataset, probabilities: np.ndarray, label_set: LabelSet, layer: str, seed: int
) -> dict[str, Estimate]:
    patients, positive = test.patients, label_positive(test)
    classes = choose_class(probabilities, label_set)
    detected = (positive != 0) & (classes == choose_finding(probabilities, label_set))
    if label_set.multi_label:
        detected &= score_findings(probabilities, label_set) >= 0.5
    metrics: dict[str, Estimate] = {}
    for suffix, method in (("", "hirescam"), ("_averaged", "gradcam")):
        heatmaps = explain(model, test.images, method=method, layer=layer, class_indices=classes)
        of_method = estimate_centrality(heatmaps, positive, patients, seed=seed) if (positive >= 0).any() else {}
        if test.masks is not None:
            masks = test.masks[detected]
            of_method |= estimate_peak_in_lesion(heatmaps[detected], masks, patients[detected], seed=seed)
        metrics |= {name if name == "lesion_area" else name + suffix: value for name, value in of_method.items()}
    return metrics
