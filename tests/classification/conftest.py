"""Toy data sets: a bright square at a place of its own for each class or finding."""

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.labels import LabelSet

SIZE = 32
FIVE = LabelSet(
    ("saud\u00e1vel", "covid 19", "tb", "bacteria", "virus"), "saud\u00e1vel", {"flu": ("bacteria", "virus")}
)
FINDINGS = LabelSet(("edema", "mass", "nodule", "hernia"), "no finding", multi_label=True)


def _draw(label_set: LabelSet, *, num_images: int, seed: int = 0) -> Dataset:
    """Return drawn images, two of each patient, split 60:20:20; one tenth of the findings has an unknown label."""
    rng = np.random.default_rng(seed)
    classes = np.array(label_set.classes)
    shown = np.eye(len(classes), dtype=bool)[np.arange(num_images) % len(classes)]
    if label_set.multi_label:
        shown |= rng.random(shown.shape) < 0.2
        shown[::5] = False
    images = rng.integers(60, 100, (num_images, SIZE, SIZE)).astype(np.uint8)
    for row, column in np.argwhere(shown):
        if classes[column] != label_set.negative:
            top, left = divmod(column, 3)
            images[row, 2 + 14 * top : 12 + 14 * top, 1 + 10 * left : 10 + 10 * left] += 100
    unknown = (rng.random(shown.shape) < 0.1) & label_set.multi_label
    numbers = np.arange(num_images)
    table = pd.DataFrame(
        {
            "name": [f"{number}.png" for number in numbers],
            "patient": [f"p{number // 10}-{number % 5}" for number in numbers],
            "split": np.array(["train", "train", "train", "val", "test"])[numbers // 10 % 5],
            "label": ["|".join(classes[row]) for row in shown & ~unknown],
            "uncertain": ["|".join(classes[row]) for row in unknown],
        }
    ).assign(path="", age="", sex="", view="")
    table["sha256"] = table["name"]
    return Dataset(images, table, pd.DataFrame(columns=["name", "reason"]), label_set)


@pytest.fixture
def five_classes() -> Dataset:
    """Return 200 images of five classes with a negative one and a group."""
    return _draw(FIVE, num_images=200)


@pytest.fixture
def four_findings() -> Dataset:
    """Return 300 images with any of four findings."""
    return _draw(FINDINGS, num_images=300)
