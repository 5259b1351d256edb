from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pneumoscope.data.collection import COLUMNS, scan_collection
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.image import load_gray
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.data.splits import check_patients
from pneumoscope.errors import CollectionError
from pneumoscope.phantoms.phantom import (
    COMMENT,
    Phantoms,
    draw_phantoms,
    phantom_dataset,
    shows_phantoms,
    write_phantoms,
)


@pytest.fixture(scope="module")
def phantoms() -> Phantoms:
    return draw_phantoms(121, size=128, seed=3)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return phantom_dataset(num_train=450, num_test=240, size=64, seed=0)


def score(features: np.ndarray, dataset: Dataset, labels: np.ndarray) -> float:
    """Return the balanced accuracy on test of a linear classifier of `(n, features)`."""
    train, test = dataset.rows("train"), dataset.rows("test")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, class_weight="balanced", max_iter=500))
    hits = model.fit(features[train], labels[train]).predict(features[test]) == labels[test]
    return float(np.mean([hits[labels[test] == label].mean() for label in set(labels)]))


def coarse_pixels(dataset: Dataset) -> np.ndarray:
    return dataset.images.reshape(len(dataset), 16, 4, 16, 4).mean(axis=(2, 4)).reshape(len(dataset), -1)


def test_same_seed_gives_the_same_bytes_of_as_many_images() -> None:
    first, again, other = (draw_phantoms(10, size=48, seed=seed) for seed in (5, 5, 6))
    assert first.images.shape == first.masks.shape == first.lungs.shape == (10, 48, 48)
    assert len(first) == len(first.labels) == len(first.patients) == 10
    for name in ("images", "masks", "lungs", "patients"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.images != other.images).any()


def test_classes_are_thirds_and_children_have_1_to_4_images_of_one_class(phantoms: Phantoms) -> None:
    assert sorted((phantoms.labels == name).sum() for name in KERMANY_LABELS.classes) == [40, 40, 41]
    patients, first, counts = np.unique(phantoms.patients, return_index=True, return_counts=True)
    assert set(counts.tolist()) == {1, 2, 3, 4}
    for patient, row in zip(patients, first, strict=True):
        assert (phantoms.labels[phantoms.patients == patient] == phantoms.labels[row]).all()


def test_images_use_the_range_and_differ_in_exposure_and_pose(phantoms: Phantoms) -> None:
    assert (np.ptp(phantoms.images, axis=(1, 2)) > 150).all()
    assert phantoms.images.mean(axis=(1, 2)).std() > 5
    patients, counts = np.unique(phantoms.patients, return_counts=True)
    rows = np.flatnonzero(phantoms.patients == patients[counts.argmax()])
    assert np.abs(phantoms.images[rows[0]].astype(float) - phantoms.images[rows[1]]).mean() > 3


def test_masks_are_empty_for_normals_alone(phantoms: Phantoms) -> None:
    areas = phantoms.masks.mean(axis=(1, 2))
    assert (areas[phantoms.labels == "normal"] == 0).all()
    assert (areas[phantoms.labels != "normal"] > 0.01).all()
    assert areas.max() < 0.4


def test_bacterial_lesion_is_a_dense_patch_in_one_lung(phantoms: Phantoms) -> None:
    rows = np.flatnonzero(phantoms.labels == "bacterial")
    brighter = []
    for image, mask in zip(phantoms.images[rows].astype(float), phantoms.masks[rows], strict=True):
        parts, count = ndimage.label(mask)
        assert ndimage.sum_labels(mask, parts, range(1, count + 1)).max() > 0.9 * mask.sum()
        assert max(mask[:, :64].sum(), mask[:, 64:].sum()) > 0.95 * mask.sum()
        brighter.append(image[mask].mean() - image[mask[:, ::-1]].mean())
    assert np.mean(np.array(brighter) > 10) > 0.9


def test_viral_lesion_is_a_pattern_of_fine_lines_in_both_lungs(phantoms: Phantoms) -> None:
    rows = np.flatnonzero(phantoms.labels == "viral")
    masks = phantoms.masks[rows]
    shares = masks[:, :, :64].sum(axis=(1, 2)) / masks.sum(axis=(1, 2))
    assert ((shares > 0.25) & (shares < 0.75)).all()
    places = masks.mean(axis=0) > 0.8
    smoothed = ndimage.gaussian_filter(phantoms.images.astype(float), (0, 1, 1))
    roughness = np.abs(phantoms.images - smoothed)[:, places].mean(axis=1)
    assert (roughness[rows][:, None] > roughness[phantoms.labels == "normal"]).mean() > 0.85


def test_lesions_can_be_learned_and_shuffled_labels_cannot(dataset: Dataset) -> None:
    labels = dataset.labels(KERMANY_LABELS.binary())
    assert score(coarse_pixels(dataset), dataset, labels) > 0.85
    assert score(coarse_pixels(dataset), dataset, dataset.labels()) > 0.7
    assert score(coarse_pixels(dataset), dataset, np.random.default_rng(0).permutation(labels)) < 0.62


def test_mean_and_spread_of_gray_do_not_predict_the_class(dataset: Dataset) -> None:
    moments = np.stack([dataset.images.mean(axis=(1, 2)), dataset.images.std(axis=(1, 2))], axis=1)
    assert score(moments, dataset, dataset.labels(KERMANY_LABELS.binary())) < 0.75


def test_dataset_keeps_children_apart(dataset: Dataset) -> None:
    assert dataset.table.columns.tolist() == COLUMNS
    assert dataset.masks is not None and dataset.masks.shape == dataset.images.shape
    assert dataset.table["split"].value_counts().to_dict() == {"train": 450, "test": 240}
    assert dataset.table["name"].is_unique and dataset.table["sha256"].is_unique
    check_patients(dataset.table)


def test_written_folder_reads_like_the_real_set_and_is_marked_as_drawn(tmp_path: Path) -> None:
    root = write_phantoms(tmp_path, num_train=9, num_test=6, size=64, seed=2)
    dataset = phantom_dataset(num_train=9, num_test=6, size=64, seed=2)
    collection = scan_collection(root)
    assert collection.skipped.empty
    expected, listed = (
        table.set_index("name")[["label", "split"]].to_dict("index") for table in (dataset.table, collection.table)
    )
    assert listed == expected
    check_patients(collection.table)
    for name, image, mask in zip(dataset.table["name"], dataset.images, dataset.masks, strict=True):
        assert np.abs(load_gray(root / name) * 255 - image).mean() < 3
        with Image.open(root / name) as written, Image.open((root / "masks" / name).with_suffix(".png")) as lesion:
            assert written.mode == "L" and written.info["comment"].decode() == COMMENT
            assert (np.asarray(lesion).astype(bool) == mask).all()
    readme = (root / "README.txt").read_text(encoding="utf-8")
    assert COMMENT in readme and "Not a medical device." in readme
    with pytest.raises(CollectionError, match="not empty"):
        write_phantoms(root, num_train=3, num_test=3, size=32)


@pytest.mark.parametrize("label_set", ["five-class", "multi-label"])
def test_findings_of_other_sets_are_visible(label_set: str) -> None:
    drawn = phantom_dataset(num_train=200, num_test=100, size=64, seed=0, label_set=label_set)
    labels, names = drawn.targets.astype(bool), drawn.label_set.classes
    assert drawn.masks is not None
    positive = [names.index(name) for name in drawn.label_set.positives]
    assert (drawn.masks.any(axis=(1, 2)) == labels[:, positive].any(axis=1)).all()
    assert ((labels.mean(axis=0) > 0.15) & (labels.mean(axis=0) < 0.5)).all()
    single = labels.sum(axis=1) == 1
    assert single.all() if label_set == "five-class" else 0.2 < single.mean() < 0.6
    for name in ("consolidation", "nodule", "effusion"):
        rows = np.flatnonzero(single & labels[:, [item.lower() for item in names].index(name)])
        pairs = [
            (image[mask], image[mask[:, ::-1]])
            for image, mask in zip(drawn.images[rows], drawn.masks[rows], strict=True)
        ]
        assert np.mean([lesion.mean() > other.mean() + 10 for lesion, other in pairs]) > 0.85, name
    check_patients(drawn.table)


def test_written_sets_load_as_drawn(tmp_path: Path) -> None:
    for label_set, source in (("five-class", ""), ("multi-label", "manifest.csv")):
        root = write_phantoms(tmp_path / label_set, num_train=12, num_test=6, size=48, label_set=label_set)
        drawn = phantom_dataset(num_train=12, num_test=6, size=48, label_set=label_set)
        loaded = load_dataset(root / source, size=48)
        assert set(loaded.label_set.classes) == set(drawn.label_set.classes) and loaded.skipped.empty
        order = drawn.table.reset_index().set_index("name").loc[loaded.names, "index"].to_numpy()
        assert loaded.labels(drawn.label_set).tolist() == drawn.labels()[order].tolist()
        grouping = [pd.factorize(patients)[0].tolist() for patients in (loaded.patients, drawn.patients[order])]
        assert grouping[0] == grouping[1] and (loaded.table["split"].array == drawn.table["split"].array[order]).all()


@pytest.mark.parametrize(
    ("num_images", "size", "label_set", "match"),
    [(0, 64, "kermany", "num_images is 0"), (3, 16, "kermany", "size is 16"), (3, 64, "two", "expected kermany, five")],
)
def test_impossible_requests_are_rejected(num_images: int, size: int, label_set: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        draw_phantoms(num_images, size=size, label_set=label_set)


def test_phantoms_are_recognized_and_radiographs_are_not(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    write_phantoms(tmp_path / "phantoms", num_train=12, num_test=6, size=64, seed=1)
    assert shows_phantoms(load_dataset(tmp_path / "phantoms", size=32))
    assert shows_phantoms(phantom_dataset(num_train=12, num_test=6, size=64, seed=1))
    write_image("images/NORMAL/a.png", 1)
    assert not shows_phantoms(load_dataset(tmp_path / "images", size=32))
