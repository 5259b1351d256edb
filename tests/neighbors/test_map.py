import sys
import time
import types

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError, TrainingError
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.neighbors.map import compute_map, extend_map, measure_map, restore_tsne

pytest.importorskip("openTSNE")


def make_case(splits, seed=0, spread=0.5):
    """Return embeddings around one center a class, and their dataset."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, len(splits))
    embeddings = (5 * np.eye(16)[labels] + spread * rng.normal(size=(len(splits), 16))).astype(np.float32)
    table = pd.DataFrame(
        {
            "name": [f"{row}.jpeg" for row in range(len(splits))],
            "label": np.where(labels == 0, "normal", "pneumonia"),
            "subtype": np.array(THREE_CLASSES)[labels],
            "patient": [f"p{row}" for row in range(len(splits))],
            "split": splits,
        }
    )
    return embeddings, Dataset(np.zeros((len(splits), 4, 4), np.uint8), table, pd.DataFrame())


@pytest.fixture(scope="module")
def mapped():
    splits = np.random.default_rng(1).permutation(np.repeat(["train", "val", "test"], [100, 20, 30]))
    embeddings, dataset = make_case(splits)
    new = np.concatenate([embeddings[:3], 5 * np.eye(16)[[2]]])
    drawn = compute_map(
        embeddings, dataset, classes=THREE_CLASSES, seed=4, new_embeddings=new, new_names=["a", "b", "c", "viral"]
    )
    return embeddings, dataset, drawn


def label_by_nearest(drawn, points):
    known = drawn.origins == "train"
    gaps = np.linalg.norm(drawn.coordinates[points][:, None] - drawn.coordinates[known], axis=2)
    return drawn.labels[known][gaps.argmin(axis=1)]


def test_images_that_had_no_part_in_the_map_fall_among_their_class(mapped):
    _, _, drawn = mapped
    test = drawn.origins == "test"

    assert np.mean(label_by_nearest(drawn, test) == drawn.labels[test]) > 0.95


def test_a_new_image_falls_among_those_it_resembles(mapped):
    _, dataset, drawn = mapped
    new = drawn.origins == "new"

    expected = [*dataset.labels(THREE_CLASSES)[:3], 2]
    assert label_by_nearest(drawn, new).tolist() == expected


def test_rows_are_those_of_the_dataset_and_then_the_new(mapped):
    _, dataset, drawn = mapped

    assert drawn.names.tolist() == [*dataset.table["name"], "a", "b", "c", "viral"]
    assert drawn.labels.tolist() == [*dataset.labels(THREE_CLASSES), -1, -1, -1, -1]
    expected = dataset.table["split"].replace({"val": "train"})
    assert drawn.origins.tolist() == [*expected, *["new"] * 4]
    assert drawn.coordinates.dtype == np.float32
    assert np.isfinite(drawn.coordinates).all()


def test_the_test_and_new_images_do_not_move_the_map(mapped):
    embeddings, dataset, drawn = mapped
    others = embeddings.copy()
    others[dataset.rows("test")] = 0

    again = compute_map(others, dataset, classes=THREE_CLASSES, seed=4)

    known = again.origins == "train"
    np.testing.assert_array_equal(again.coordinates[known], drawn.coordinates[: len(dataset)][known])
    assert again.trustworthiness == drawn.trustworthiness


def test_the_seed_alone_decides(mapped):
    embeddings, dataset, drawn = mapped

    again = compute_map(embeddings, dataset, classes=THREE_CLASSES, seed=4)

    np.testing.assert_array_equal(again.coordinates, drawn.coordinates[: len(dataset)])


def test_trust_is_high_where_there_is_structure_and_low_where_there_is_none(mapped):
    _, dataset, drawn = mapped
    noise = np.random.default_rng(0).normal(size=(len(dataset), 200)).astype(np.float32)

    unstructured = compute_map(noise, dataset, classes=THREE_CLASSES)

    assert 0.85 < drawn.trustworthiness <= 1
    assert unstructured.trustworthiness < drawn.trustworthiness


@pytest.mark.parametrize("num_images", [4, 5, 9, 30])
def test_few_images_can_be_mapped_too(num_images):
    embeddings, dataset = make_case(["train"] * num_images + ["test"])

    drawn = compute_map(embeddings, dataset, classes=THREE_CLASSES, new_embeddings=embeddings[:1], new_names=["new"])

    assert np.isfinite(drawn.coordinates).all()
    assert 0 <= drawn.trustworthiness <= 1


def test_the_same_film_twice_can_be_mapped():
    embeddings, dataset = make_case(["train"] * 40)

    drawn = compute_map(np.repeat(embeddings[:10], 4, axis=0), dataset, classes=THREE_CLASSES)

    assert np.isfinite(drawn.coordinates).all()


def test_too_few_images_and_a_dead_net_are_named():
    embeddings, dataset = make_case(["train"] * 3 + ["test"] * 9)
    with pytest.raises(CollectionError, match="3 images outside test, expected 4 or more"):
        compute_map(embeddings, dataset, classes=THREE_CLASSES)
    embeddings, dataset = make_case(["train"] * 12)
    with pytest.raises(TrainingError, match="same embedding"):
        compute_map(np.ones_like(embeddings), dataset, classes=THREE_CLASSES)


def test_what_does_not_fit_is_refused():
    embeddings, dataset = make_case(["train"] * 12)
    with pytest.raises(ValueError, match=r"embeddings are \(11, 16\), expected \(12, d\)"):
        compute_map(embeddings[1:], dataset, classes=THREE_CLASSES)
    with pytest.raises(ValueError, match=r"new_embeddings are \(2, 16\), expected \(1, 16\)"):
        compute_map(embeddings, dataset, classes=THREE_CLASSES, new_embeddings=embeddings[:2], new_names=["one"])
    embeddings[3, 3] = np.nan
    with pytest.raises(ValueError, match="embeddings hold NaN"):
        compute_map(embeddings, dataset, classes=THREE_CLASSES)


def test_a_map_that_keeps_all_is_measured_as_such_and_one_by_chance_as_chance():
    places = np.random.default_rng(0).normal(size=(400, 2)) + 40 * np.array([1, 1])
    flat = np.concatenate([places, np.full((400, 1), 400)], axis=1)

    same, shuffled = (measure_map(flat, drawn) for drawn in (places, np.random.default_rng(1).permutation(places)))

    assert min(same["trustworthiness"], same["continuity"]) > 0.99 and same["knn_preservation"] > 0.9
    assert all(shuffled[name] == pytest.approx(0.5, abs=0.05) for name in ("trustworthiness", "continuity"))
    assert shuffled["knn_preservation"] < 0.05


def test_folding_two_groups_onto_each_other_is_not_to_be_trusted_but_continuous():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(200, 2))
    embeddings = np.concatenate([np.concatenate([plane, np.full((200, 1), side * 9.0)], axis=1) for side in (-1, 1)])

    folded = measure_map(embeddings, np.concatenate([plane, plane + 1e-3]))

    assert folded["continuity"] > folded["trustworthiness"] + 0.1


def test_a_map_that_was_kept_takes_new_images_at_once(mapped):
    embeddings, dataset, drawn = mapped

    again = extend_map(drawn, embeddings, embeddings[:2], ["first", "second"], seed=4)

    old = drawn.origins != "new"
    np.testing.assert_array_equal(again.coordinates[: old.sum()], drawn.coordinates[old])
    assert again.names.tolist()[old.sum() :] == ["first", "second"]
    assert label_by_nearest(again, again.origins == "new").tolist() == dataset.labels(THREE_CLASSES)[:2].tolist()
    with pytest.raises(ValueError, match=r"expected \(150, d\)"):
        extend_map(drawn, embeddings[1:], embeddings[:0], [])


def test_placing_one_image_is_fast_and_moves_nothing():
    embeddings, dataset = make_case(["train"] * 2000)
    centers = 60 * np.array([[0, 0], [1, 0], [0, 1]])[dataset.labels(THREE_CLASSES)]
    before = (centers + 6 * np.random.default_rng(0).normal(size=(2000, 2))).astype(np.float32)
    fitted = restore_tsne(embeddings, before)
    fitted.place(embeddings[:1])

    started = time.perf_counter()
    placed = fitted.place(embeddings[1:2])
    seconds = time.perf_counter() - started

    assert seconds < 0.2 * 5  # five times what is promised, for machines that do other work
    np.testing.assert_array_equal(fitted.coordinates, before)
    gaps = np.linalg.norm(placed[0] - 60 * np.array([[0, 0], [1, 0], [0, 1]]), axis=1)
    assert gaps.argmin() == dataset.labels(THREE_CLASSES)[1]


def test_umap_is_asked_for_the_map_and_for_new_images(mapped, monkeypatch):
    embeddings, dataset, _ = mapped
    asked = []

    class UMAP:
        def __init__(self, **settings):
            asked.append(settings)

        def fit(self, units):
            np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1, rtol=1e-5)
            self.embedding_ = units[:, :2]

        def transform(self, units):
            return units[:, 1:3]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))

    drawn = compute_map(embeddings, dataset, classes=THREE_CLASSES, seed=4, method="umap")

    assert drawn.method == "umap"
    assert asked[0]["random_state"] == 4 and asked[0]["n_neighbors"] == 15
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(drawn.coordinates[drawn.origins == "test"], units[dataset.rows("test"), 1:3], rtol=1e-5)
