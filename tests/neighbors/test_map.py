import sys
import types

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import CollectionError, TrainingError
from pneumoscope.labels import LabelSet
from pneumoscope.neighbors.map import compute_map, measure_map

pytest.importorskip("openTSNE")


def make_case(splits, seed=0, spread=0.5, label_set=KERMANY_LABELS):
    """Return embeddings around one center a class, and their dataset."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, len(splits))
    embeddings = (5 * np.eye(16)[labels] + spread * rng.normal(size=(len(splits), 16))).astype(np.float32)
    table = pd.DataFrame(
        {
            "name": [f"{row}.jpeg" for row in range(len(splits))],
            "label": np.array(label_set.classes)[labels],
            "uncertain": "",
            "patient": [f"p{row}" for row in range(len(splits))],
            "split": splits,
        }
    )
    return embeddings, Dataset(np.zeros((len(splits), 4, 4), np.uint8), table, pd.DataFrame(), label_set)


@pytest.fixture(scope="module")
def mapped():
    splits = np.random.default_rng(1).permutation(np.repeat(["train", "val", "test"], [100, 20, 30]))
    embeddings, dataset = make_case(splits)
    new = np.concatenate([embeddings[:3], 5 * np.eye(16)[[2]]])
    mapping = compute_map(
        embeddings, dataset, label_set=KERMANY_LABELS, seed=4, new_embeddings=new, new_names=["a", "b", "c", "viral"]
    )
    return embeddings, dataset, mapping


def test_test_and_new_images_are_placed_among_their_class(mapped):
    _, dataset, mapping = mapped
    train = mapping.origins == "train"
    gaps = np.linalg.norm(mapping.coordinates[:, None] - mapping.coordinates[train], axis=2)
    by_nearest = mapping.labels[train][gaps.argmin(axis=1)]
    assert np.mean(by_nearest == mapping.labels, where=mapping.origins == "test") > 0.95
    assert by_nearest[mapping.origins == "new"].tolist() == [*dataset.labels()[:3], 2]


def test_rows_are_the_dataset_and_then_the_new_images(mapped):
    _, dataset, mapping = mapped
    assert mapping.names.tolist() == [*dataset.table["name"], "a", "b", "c", "viral"]
    assert mapping.labels.tolist() == [*dataset.labels(), -1, -1, -1, -1]
    expected = dataset.table["split"].replace({"val": "train"})
    assert mapping.origins.tolist() == [*expected, *["new"] * 4]
    assert mapping.coordinates.dtype == np.float32
    assert np.isfinite(mapping.coordinates).all()


def test_the_test_and_new_images_do_not_move_the_map(mapped):
    embeddings, dataset, mapping = mapped
    others = embeddings.copy()
    others[dataset.rows("test")] = 0
    again = compute_map(others, dataset, label_set=KERMANY_LABELS, seed=4)
    train = again.origins == "train"
    np.testing.assert_array_equal(again.coordinates[train], mapping.coordinates[: len(dataset)][train])
    assert again.trustworthiness == mapping.trustworthiness


@pytest.mark.parametrize(("num_images", "copies"), [(4, 1), (5, 1), (9, 1), (30, 1), (10, 4)])
def test_few_and_duplicate_images_can_be_mapped(num_images, copies):
    embeddings, dataset = make_case(["train"] * num_images * copies + ["test"])
    embeddings = np.concatenate([np.tile(embeddings[:num_images], (copies, 1)), embeddings[-1:]])
    mapping = compute_map(
        embeddings, dataset, label_set=KERMANY_LABELS, new_embeddings=embeddings[:1], new_names=["new"]
    )
    assert np.isfinite(mapping.coordinates).all()
    assert 0 <= mapping.trustworthiness <= 1


def test_too_few_images_and_equal_embeddings_raise_an_error():
    embeddings, dataset = make_case(["train"] * 3 + ["test"] * 9)
    with pytest.raises(CollectionError, match="3 images outside test, expected 4 or more"):
        compute_map(embeddings, dataset, label_set=KERMANY_LABELS)
    embeddings, dataset = make_case(["train"] * 12)
    with pytest.raises(TrainingError, match="same embedding"):
        compute_map(np.ones_like(embeddings), dataset, label_set=KERMANY_LABELS)


def test_invalid_arguments_raise_an_error():
    embeddings, dataset = make_case(["train"] * 12)
    with pytest.raises(ValueError, match=r"embeddings are \(11, 16\), expected \(12, d\)"):
        compute_map(embeddings[1:], dataset, label_set=KERMANY_LABELS)
    with pytest.raises(ValueError, match=r"new_embeddings are \(2, 16\), expected \(1, 16\)"):
        compute_map(embeddings, dataset, label_set=KERMANY_LABELS, new_embeddings=embeddings[:2], new_names=["one"])
    embeddings[3, 3] = np.nan
    with pytest.raises(ValueError, match="embeddings hold NaN"):
        compute_map(embeddings, dataset, label_set=KERMANY_LABELS)


def test_a_perfect_map_scores_1_and_a_random_one_chance():
    places = np.random.default_rng(0).normal(size=(400, 2)) + 40 * np.array([1, 1])
    flat = np.concatenate([places, np.full((400, 1), 400)], axis=1)
    same, shuffled = (measure_map(flat, points) for points in (places, np.random.default_rng(1).permutation(places)))
    assert min(same["trustworthiness"], same["continuity"]) > 0.99 and same["knn_preservation"] > 0.9
    assert all(shuffled[name] == pytest.approx(0.5, abs=0.05) for name in ("trustworthiness", "continuity"))
    assert shuffled["knn_preservation"] < 0.05


def test_folded_groups_are_continuous_and_not_trustworthy():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(200, 2))
    embeddings = np.concatenate([np.concatenate([plane, np.full((200, 1), side * 9.0)], axis=1) for side in (-1, 1)])
    folded = measure_map(embeddings, np.concatenate([plane, plane + 1e-3]))
    assert folded["continuity"] > folded["trustworthiness"] + 0.1


def test_each_point_of_a_multi_label_map_has_one_label():
    findings = LabelSet(("edema", "mass", "nodule"), multi_label=True)
    embeddings, dataset = make_case(["train"] * 12, label_set=findings)
    labels = ["", "edema", "edema|mass", "mass", *dataset.table["label"][4:]]
    dataset.table["label"], dataset.table.loc[3, "uncertain"] = labels, "nodule"
    mapping = compute_map(embeddings, dataset, label_set=findings)
    assert mapping.classes == ("no finding", "edema", "mass", "nodule", "several findings")
    assert mapping.labels[:4].tolist() == [0, 1, 4, 2]


def test_umap_fits_the_map_and_places_test_images(mapped, monkeypatch):
    embeddings, dataset, _ = mapped
    settings = []

    class UMAP:
        def __init__(self, **given):
            settings.append(given)

        def fit(self, units):
            np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1, rtol=1e-5)
            self.embedding_ = units[:, :2]

        def transform(self, units):
            return units[:, 1:3]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))

    mapping = compute_map(embeddings, dataset, label_set=KERMANY_LABELS, seed=4, method="umap")

    assert mapping.method == "umap"
    assert settings[0]["random_state"] == 4 and settings[0]["n_neighbors"] == 15
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(
        mapping.coordinates[mapping.origins == "test"], units[dataset.rows("test"), 1:3], rtol=1e-5
    )
