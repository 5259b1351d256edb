import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import CollectionError, ImageError, ModelError
from pneumoscope.labels import LabelSet
from pneumoscope.neighbors.knn import K_TRIED, choose_k, count_votes, embed_images, find_neighbors
from pneumoscope.neighbors.search import LabeledEmbeddings, scale_to_length_one

SPLITS = {"train": 90, "val": 30, "test": 30}
FINDINGS = LabelSet(("edema", "mass"), negative="healthy", multi_label=True)


def make_dataset(labels, splits, label_set=KERMANY_LABELS):
    number = len(labels)
    table = pd.DataFrame(
        {
            "name": [f"{split}/{row}.jpeg" for row, split in enumerate(splits)],
            "label": labels,
            "uncertain": "",
            "patient": [f"p{row}" for row in range(number)],
            "split": splits,
        }
    )
    return Dataset(np.zeros((number, 4, 4), np.uint8), table, pd.DataFrame({"name": [], "reason": []}), label_set)


def make_case(spread=1.0, seed=0):
    """Return embeddings around one center a class, and their dataset in shuffled order."""
    rng = np.random.default_rng(seed)
    splits = rng.permutation(np.repeat(list(SPLITS), list(SPLITS.values())))
    labels = rng.integers(0, 3, len(splits))
    embeddings = 4 * np.eye(8)[labels] + spread * rng.normal(size=(len(splits), 8))
    return embeddings.astype(np.float32), make_dataset(np.array(KERMANY_LABELS.classes)[labels], splits)


def classify(embeddings, dataset, label_set=KERMANY_LABELS, probabilities=None, seed=0):
    if probabilities is None:
        probabilities = np.full((len(dataset.rows("test")), len(label_set.classes)), 1 / len(label_set.classes))
    return find_neighbors(embeddings, dataset, label_set=label_set, probabilities=probabilities, seed=seed)


def test_probabilities_are_weighted_shares_of_the_votes():
    embeddings, dataset = make_case(spread=2.5)

    result = classify(embeddings, dataset)

    train, labels = dataset.rows("train"), dataset.labels()
    reference = KNeighborsClassifier(result.k, metric="cosine").fit(embeddings[train], labels[train])
    for split, evaluation in result.evaluations.items():
        # Every vote weighs as much as its class is rare, so that classes weigh alike.
        expected = reference.predict_proba(embeddings[dataset.rows(split)]) / np.bincount(labels[train])
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(evaluation.probabilities, expected, atol=1e-6)
        assert evaluation.names.tolist() == dataset.names[dataset.rows(split)].tolist()


def test_k_is_chosen_on_validation_alone():
    embeddings, dataset = make_case(spread=2.5)
    result = classify(embeddings, dataset)
    test = dataset.rows("test")
    moved, mislabeled = embeddings.copy(), dataset.table.copy()
    moved[test] = 0
    mislabeled.loc[test, "label"] = "normal"
    mislabeled.loc[test[0], "label"] = "viral"

    again = classify(moved, dataclasses.replace(dataset, table=mislabeled))

    assert result.k >= int(max(result.k_scores, key=result.k_scores.get)) and result.k > 1
    assert list(result.k_scores) == [str(k) for k in K_TRIED if k <= SPLITS["train"]]
    assert result.k_scores[str(result.k)] == pytest.approx(result.evaluations["val"].metrics["balanced_accuracy"].value)
    assert (again.k, again.k_scores) == (result.k, result.k_scores)


@pytest.mark.parametrize(
    ("measured", "chosen"),
    [
        ({1: (0.98, 0.01), 5: (0.99, 0.006), 9: (0.985, 0.01), 25: (0.98, 0.01)}, 9),
        ({1: (1.0, 0.0), 3: (1.0, 0.0), 5: (0.99, 0.01)}, 3),
        ({1: (0.7, 0.05)}, 1),
    ],
)
def test_the_largest_k_within_one_standard_error_is_chosen(measured, chosen):
    assert choose_k(measured) == chosen


def test_k_does_not_exceed_the_training_images():
    embeddings, dataset = make_case(spread=0.3)
    rows = np.concatenate([dataset.rows("train")[:10], dataset.rows("val"), dataset.rows("test")])
    result = classify(embeddings[rows], dataset.select(rows))
    assert list(result.k_scores) == ["1", "3", "5", "9"]


def test_differences_from_the_classifier_are_counted():
    embeddings, dataset = make_case(spread=0.3)
    truth = dataset.labels()[dataset.rows("test")]
    knn_wrong = np.flatnonzero(classify(embeddings, dataset).evaluations["test"].decisions != truth)
    assert not len(knn_wrong)
    bacterial = dataset.rows("test")[truth == 1]
    embeddings[bacterial[:5]] = 4 * np.eye(8)[2]
    model_decisions = truth.copy()
    model_decisions[np.flatnonzero(truth == 1)[:2]] = 0
    model_decisions[np.flatnonzero(truth == 0)[:4]] = 1

    result = classify(embeddings, dataset, probabilities=np.eye(3)[model_decisions])

    assert (result.model_right, result.knn_right, result.neither_right) == (3, 4, 2)
    assert result.agreement.value == pytest.approx(1 - 9 / 30)
    assert result.agreement.low < result.agreement.value < result.agreement.high
    assert result.agreement.n == 30


def test_examples_show_correct_and_wrong_decisions_of_each_class():
    embeddings, dataset = make_case(spread=2.5)

    result = classify(embeddings, dataset)

    test = result.evaluations["test"]
    places = np.searchsorted(dataset.rows("test"), result.queries)
    shown = {
        (label, label == decision) for label, decision in zip(test.labels[places], test.decisions[places], strict=True)
    }
    assert shown == {(label, right) for label in range(3) for right in (True, False)}
    assert len(set(result.queries)) == 6
    np.testing.assert_array_equal(result.queries, classify(embeddings, dataset).queries)
    assert result.queries.tolist() != classify(embeddings, dataset, seed=1).queries.tolist()


def test_nearest_of_an_example_are_training_images_of_other_patients():
    embeddings, dataset = make_case(spread=2.5)
    queries = classify(embeddings, dataset).queries
    twins = dataset.rows("train")[: len(queries)]
    embeddings[twins] = embeddings[queries]
    patients = dataset.table["patient"].to_numpy().astype(object)
    patients[twins] = patients[queries]
    shared = dataclasses.replace(dataset, table=dataset.table.assign(patient=patients))

    result = classify(embeddings, shared)

    assert result.nearest.shape == (6, 5)
    assert set(shared.table["split"].to_numpy()[result.nearest].ravel()) == {"train"}
    assert (patients[result.nearest] != patients[result.queries][:, None]).all()
    units = scale_to_length_one(embeddings)
    gaps = np.linalg.norm(units[result.nearest] - units[result.queries][:, None], axis=2)
    np.testing.assert_allclose(result.distances, gaps, rtol=1e-5)
    assert (np.diff(result.distances, axis=1) >= 0).all()


def test_images_of_unknown_class_are_left_out():
    embeddings, dataset = make_case(spread=0.3)
    labels = dataset.table["label"].to_numpy().astype(object)
    unknown = np.concatenate([dataset.rows(split)[:3] for split in SPLITS])
    labels[unknown] = "pneumonia"
    own = np.eye(3)[dataset.labels()[dataset.rows("test")]]
    embeddings[dataset.rows("train")[:3]] = 4 * np.eye(8)[0]

    result = classify(
        embeddings, dataclasses.replace(dataset, table=dataset.table.assign(label=labels)), probabilities=own
    )

    assert len(result.evaluations["test"].labels) == 27
    assert result.agreement.value > 0.95
    assert not set(result.queries) & set(unknown)


def test_findings_are_classified_by_the_known_labels_of_the_neighbors():
    rng = np.random.default_rng(0)
    splits = rng.permutation(np.repeat(list(SPLITS), list(SPLITS.values())))
    present = rng.random((len(splits), 2)) < 0.4
    embeddings = present + 0.1 * rng.normal(size=present.shape) + [0.3, 0.1]
    labels = ["|".join(np.array(FINDINGS.classes)[row]) for row in present]
    dataset = make_dataset(labels, splits, label_set=FINDINGS)
    dataset.table.loc[dataset.rows("train")[:20], "uncertain"] = "edema|mass"

    result = classify(embeddings, dataset, FINDINGS, probabilities=1.0 * present[dataset.rows("test")])

    assert result.evaluations["test"].metrics["auroc"].value > 0.95
    assert result.agreement.value > 0.8
    assert result.model_right == result.agreement.n - round(result.agreement.value * result.agreement.n)


def test_votes_on_findings_weigh_present_and_absent_alike_and_ignore_unknown():
    references = LabeledEmbeddings(np.eye(4), np.array([[1, -1], [0, -1], [0, 0], [0, 1]]), np.array(list("abcd")))
    votes = count_votes(references, np.array([[4.0, 3, 2, 1]]), np.array(["e"]), num_classes=2, ks=(1, 2, 4))
    assert votes[1].tolist() == [[1, 0.5]]
    np.testing.assert_allclose(votes[2], [[0.75, 0.5]])
    np.testing.assert_allclose(votes[4], [[0.5, 0.5]])


def test_invalid_arguments_raise_an_error():
    embeddings, dataset = make_case()
    with pytest.raises(ValueError, match=r"embeddings are \(149, 8\), expected \(150, d\)"):
        classify(embeddings[1:], dataset)
    with pytest.raises(ValueError, match=r"probabilities are \(30, 2\), expected \(30, 3\)"):
        classify(embeddings, dataset, probabilities=np.ones((30, 2)))
    everything = dataclasses.replace(dataset, table=dataset.table.assign(split="train"))
    with pytest.raises(CollectionError, match=r"no image of normal, .* in val, test; split the dataset"):
        classify(embeddings, everything, probabilities=np.ones((0, 3)))


def build_model(channels):
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, channels))
    hidden = keras.layers.Rescaling(1 / 255)(inputs)
    hidden = keras.layers.Flatten()(hidden)
    hidden = keras.layers.Dense(5, activation="relu", name="embedding")(hidden)
    hidden = keras.layers.Dropout(0.5)(hidden)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="output", dtype="float32")(hidden))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_embedding_is_the_output_of_the_layer(channels):
    pytest.importorskip("keras").config.set_dtype_policy("float32")
    model = build_model(channels)
    images = np.random.default_rng(0).integers(0, 256, (70, 8, 8), dtype=np.uint8)
    result = embed_images(model, images)
    kernel, bias = model.get_layer("embedding").get_weights()
    flat = np.repeat(images[..., None], channels, axis=-1).reshape(70, -1) / 255
    np.testing.assert_allclose(result, np.maximum(flat @ kernel + bias, 0), atol=1e-4)
    assert (result.shape, result.dtype) == ((70, 5), np.float32)


def test_no_images_give_no_embeddings_and_unusable_arguments_an_error():
    pytest.importorskip("keras")
    model = build_model(1)
    assert embed_images(model, np.empty((0, 8, 8), np.uint8)).shape == (0, 5)
    with pytest.raises(ModelError, match=r"no layer 'hidden'; expected one of .*embedding"):
        embed_images(model, np.empty((0, 8, 8), np.uint8), layer="hidden")
    with pytest.raises(ImageError, match=r"use .array . 255..astype"):
        embed_images(model, np.zeros((2, 8, 8), np.float32))
    with pytest.raises(ImageError, match=r"expected .n, 8, 8."):
        embed_images(model, np.zeros((2, 9, 9), np.uint8))
