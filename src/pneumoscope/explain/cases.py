"""Selection of images to evaluate explanation methods on."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.examples import label_positive, simplify_labels, take_turns
from pneumoscope.explain.scorer import choose_class, choose_finding, score_findings
from pneumoscope.io.results import check_shapes
from pneumoscope.labels import LabelSet
from pneumoscope.models.prediction import predict_probabilities
from pneumoscope.phantoms.opacity import paste_opacity

if TYPE_CHECKING:
    import keras

RISE_IN_PROBABILITY = 2.0


@dataclass(frozen=True)
class Cases:
    """Images with the class to explain.

    Attributes:
        images: `(n, H, W)` uint8.
        masks: `(n, H, W)` bool, lesion masks; an unknown mask is empty.
        class_indices: `(n,)` int, the class to explain.
        labels: `(n,)` int, 0 = normal, 1 = other, -1 = unknown.
        patients: `(n,)` str.
    """

    images: np.ndarray
    masks: np.ndarray
    class_indices: np.ndarray
    labels: np.ndarray
    patients: np.ndarray

    def __post_init__(self) -> None:
        n = (len(self),)
        check_shapes(self, masks=self.images.shape, class_indices=n, labels=n, patients=n)

    def __len__(self) -> int:
        return len(self.images)

    def select(self, rows: np.ndarray | slice) -> "Cases":
        """Return the subset given by a boolean mask, indices or a slice."""
        return Cases(**{name: values[rows] for name, values in vars(self).items()})


def choose_lesions(
    model: "keras.Model", dataset: Dataset, *, label_set: LabelSet, num_images: int, seed: int = 0
) -> Cases:
    """Return images with lesion masks that the classifier detects.

    If the dataset has masks, the images are those of test for which the classifier does not predict the negative class.
    Otherwise they are normals of test and validation with synthetic opacities (`paste_opacity`) that at least double
    the probability of a finding; there are none without normals. The class to explain is the most probable one but the
    negative one. The selection does not depend on an explanation method.

    Args:
        model: classifier of `label_set`.
        dataset: with the split `test`.
        label_set: the classes.
        num_images: maximum number of images.
        seed: of the selection and of the opacities.
    """
    normal, split = label_positive(dataset) == 0, dataset.table["split"].to_numpy()
    order = np.random.default_rng(seed).permutation(len(dataset))
    if dataset.masks is not None:
        rows = order[(split[order] == "test") & dataset.masks[order].any(axis=(1, 2))]
        images, masks = dataset.images[rows], dataset.masks[rows]
        probabilities = predict_probabilities(model, images, label_set)
        decided = choose_class(probabilities, label_set)
        detected = decided == choose_finding(probabilities, label_set)
        if label_set.multi_label:
            detected = score_findings(probabilities, label_set) >= 0.5
    else:
        # Four times as many, because not all are detected.
        rows = order[normal[order] & np.isin(split[order], ["val", "test"])][: 4 * num_images]
        images, masks = paste_opacity(dataset.images[rows], seed=seed)
        pair = [predict_probabilities(model, each, label_set) for each in (dataset.images[rows], images)]
        probabilities, (before, after) = pair[1], [score_findings(each, label_set) for each in pair]
        detected = (after >= RISE_IN_PROBABILITY * before) & masks.any(axis=(1, 2))
    classes = choose_finding(probabilities, label_set)
    cases = Cases(images, masks, classes, np.ones(len(rows), int), dataset.patients[rows])
    return cases.select(np.flatnonzero(detected)[:num_images])


def choose_test_images(
    model: "keras.Model", dataset: Dataset, *, label_set: LabelSet, num_images: int, seed: int = 0
) -> Cases:
    """Return at most `num_images` test images with the predicted class, alternating between normals and others.

    Without normals, they alternate between the classes.

    Args:
        model: classifier of `label_set`.
        dataset: with the split `test`.
        label_set: the classes.
        num_images: maximum number of images.
        seed: of the selection.

    Raises:
        ValueError: if there is no labeled test image.
    """
    labels, split = label_positive(dataset), dataset.table["split"].to_numpy()
    order = np.random.default_rng(seed).permutation(len(dataset))
    order = order[split[order] == "test"]
    turns = labels if (labels >= 0).any() else simplify_labels(dataset.labels(label_set), label_set)[0]
    rows = take_turns([order[turns[order] == number] for number in range(turns.max(initial=0) + 1)])[:num_images]
    if not len(rows):
        raise ValueError("the dataset has 0 labeled test images, expected 1 or more to explain")
    images = dataset.images[rows]
    masks = np.zeros(images.shape, bool) if dataset.masks is None else dataset.masks[rows]
    decided = choose_class(predict_probabilities(model, images, label_set), label_set)
    return Cases(images, masks, decided, labels[rows], dataset.patients[rows])
