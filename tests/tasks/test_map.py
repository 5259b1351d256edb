import numpy as np
import pandas as pd
import pytest

from pneumoscope.errors import CollectionError, TrainingError
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.results import THREE_CLASSES
from pneumoscope.tasks.map import draw_map

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
    drawn = draw_map(
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

    again = draw_map(others, dataset, classes=THREE_CLASSES, seed=4)

    known = again.origins == "train"
    np.testing.assert_array_equal(again.coordinates[known], drawn.coordinates[: len(dataset)][known])
    assert again.trustworthiness == drawn.trustworthiness


def test_the_seed_alone_decides(mapped):
    embeddings, dataset, drawn = mapped

    again = draw_map(embeddings, dataset, classes=THREE_CLASSES, seed=4)

    np.testing.assert_array_equal(again.coordinates, drawn.coordinates[: len(dataset)])


def test_trust_is_high_where_there_is_structure_and_low_where_there_is_none(mapped):
    _, dataset, drawn = mapped
    noise = np.random.default_rng(0).normal(size=(len(dataset), 200)).astype(np.float32)

    unstructured = draw_map(noise, dataset, classes=THREE_CLASSES)

    assert 0.85 < drawn.trustworthiness <= 1
    assert unstructured.trustworthiness < drawn.trustworthiness


@pytest.mark.parametrize("num_images", [4, 5, 9, 30])
def test_few_images_can_be_mapped_too(num_images):
    embeddings, dataset = make_case(["train"] * num_images + ["test"])

    drawn = draw_map(embeddings, dataset, classes=THREE_CLASSES, new_embeddings=embeddings[:1], new_names=["new"])

    assert np.isfinite(drawn.coordinates).all()
    assert 0 <= drawn.trustworthiness <= 1


def test_the_same_film_twice_can_be_mapped():
    embeddings, dataset = make_case(["train"] * 40)

    drawn = draw_map(np.repeat(embeddings[:10], 4, axis=0), dataset, classes=THREE_CLASSES)

    assert np.isfinite(drawn.coordinates).all()


def test_too_few_images_and_a_dead_net_are_named():
    embeddings, dataset = make_case(["train"] * 3 + ["test"] * 9)
    with pytest.raises(CollectionError, match="3 images outside test, expected 4 or more"):
        draw_map(embeddings, dataset, classes=THREE_CLASSES)
    embeddings, dataset = make_case(["train"] * 12)
    with pytest.raises(TrainingError, match="same embedding"):
        draw_map(np.ones_like(embeddings), dataset, classes=THREE_CLASSES)


def test_what_does_not_fit_is_refused():
    embeddings, dataset = make_case(["train"] * 12)
    with pytest.raises(ValueError, match=r"embeddings are \(11, 16\), expected \(12, d\)"):
        draw_map(embeddings[1:], dataset, classes=THREE_CLASSES)
    with pytest.raises(ValueError, match=r"new_embeddings are \(2, 16\), expected \(1, 16\)"):
        draw_map(embeddings, dataset, classes=THREE_CLASSES, new_embeddings=embeddings[:2], new_names=["one"])
    embeddings[3, 3] = np.nan
    with pytest.raises(ValueError, match="embeddings hold NaN"):
        draw_map(embeddings, dataset, classes=THREE_CLASSES)
