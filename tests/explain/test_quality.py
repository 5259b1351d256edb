import importlib.util
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.explain import faithfulness, quality
from pneumoscope.explain.counterfactual import contrast_with_other_class
from pneumoscope.explain.methods import explain
from pneumoscope.explain.probes import probe_concepts
from pneumoscope.research import explain_benchmark as benchmark

_SPEC = importlib.util.spec_from_file_location("blobs", Path(__file__).with_name("test_explain_methods.py"))
blobs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(blobs)


@pytest.fixture(scope="module", autouse=True)
def full_precision():
    """Build nets in 32 bits, whatever precision earlier tests trained in."""
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def model(full_precision):
    return blobs.build_blob_net()


@pytest.fixture(scope="module")
def collection():
    """Return twelve images with a blob and twelve without, all for testing."""
    images, masks = blobs.draw_blobs(24)
    images[12:] = np.random.default_rng(5).integers(20, 60, images[12:].shape, dtype=np.uint8)
    masks[12:] = False
    columns = {"label": ["pneumonia"] * 12 + ["normal"] * 12, "subtype": ["viral"] * 12 + ["normal"] * 12}
    table = pd.DataFrame({"patient": [f"person{n}" for n in range(24)], "split": "test", **columns})
    return Dataset(images, table, pd.DataFrame(), masks)


def answer_with(model, index=1):
    return lambda images: model.predict(images[..., None], verbose=0)[:, index]


class TestPlace:
    def test_a_map_of_the_lesion_itself_is_perfect_and_its_opposite_is_worthless(self):
        _, masks = blobs.draw_blobs(4)
        right, wrong, empty = masks.astype(float), 1.0 - quality.widen_masks(masks), np.zeros(masks.shape)

        for measure in (quality.hit_lesion, quality.measure_share_inside, quality.measure_overlap):
            np.testing.assert_array_equal(measure(right, masks), 1)
            np.testing.assert_array_equal(measure(wrong, masks), 0)
        assert not quality.hit_lesion(empty, masks).any()
        assert np.isnan(quality.measure_share_inside(empty, masks)).all()
        np.testing.assert_array_equal(quality.measure_overlap(empty, masks), 0)

    def test_a_map_that_moves_with_the_film_is_repeatable_and_one_that_stays_is_not(self):
        maps = np.random.default_rng(0).random((3, 32, 32))

        moved = quality.shift_images(maps, 3, 2)

        np.testing.assert_allclose(quality.measure_repeatability(maps, moved, rows=3, columns=2), 1)
        assert np.abs(quality.measure_repeatability(maps, maps, rows=3, columns=2)).max() < 0.2
        assert quality.correlate_ranks(maps, np.zeros_like(maps)).tolist() == [0, 0, 0]


class TestFaithfulness:
    def test_a_good_map_is_told_from_its_opposite(self, model):
        images, masks = blobs.draw_blobs(1)
        heatmap = explain(model, images, method="hirescam", layer="conv_1", class_indices=[1])[0] + masks[0]
        answer, rng = answer_with(model), np.random.default_rng(0)

        inserted = faithfulness.trace_deletion(answer, images[0], heatmap, insert=True)
        assert inserted > faithfulness.trace_deletion(answer, images[0], heatmap) + 0.2
        assert inserted > faithfulness.trace_deletion(answer, images[0], -heatmap, insert=True) + 0.2
        road, opposite = (faithfulness.measure_road(answer, images[0], sign * heatmap, rng) for sign in (1, -1))
        assert road > 0.2
        assert opposite < -0.2
        good, bad = (faithfulness.measure_sensitivity(answer, images[0], sign * heatmap, rng) for sign in (1, -1))
        assert good > 0.5
        assert bad < -0.5

    def test_what_is_taken_away_is_filled_from_around(self):
        ramp = np.tile(np.linspace(20, 200, 32), (32, 1)).astype(np.uint8)
        missing = np.zeros(ramp.shape, bool)
        missing[10:20, 10:20] = True
        spoiled = np.where(missing, 0, ramp).astype(np.uint8)

        filled = faithfulness._impute(spoiled, missing, np.random.default_rng(0)).astype(float)

        assert np.abs(filled - ramp)[missing].mean() < 4
        np.testing.assert_array_equal(filled[~missing], ramp[~missing])


class TestRandomization:
    def test_layers_are_shuffled_from_the_last_on_and_keep_their_values(self, model):
        before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}

        shuffled = []
        for share, net in quality.randomize_cascading(model, num_stages=3, seed=1):
            changed = {
                name
                for name, old in before.items()
                if any((a != b).any() for a, b in zip(net.get_layer(name).get_weights(), old, strict=True))
            }
            shuffled.append((round(share, 2), changed))

        assert [share for share, _ in shuffled] == [0.33, 0.67, 1]
        assert "conv_1" not in shuffled[1][1]
        for name, old in before.items():
            for new, value in zip(net.get_layer(name).get_weights(), old, strict=True):
                np.testing.assert_array_equal(np.sort(new.ravel()), np.sort(value.ravel()))
            for kept, value in zip(model.get_layer(name).get_weights(), old, strict=True):
                np.testing.assert_array_equal(kept, value)

    def test_normalizations_shuffled_give_numbers_still(self):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((16, 16, 1))
        features = keras.layers.BatchNormalization(gamma_initializer="random_normal")(keras.layers.Conv2D(4, 3)(inputs))
        features = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(name="last")(features))
        net = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(features))

        *_, (share, shuffled) = quality.randomize_cascading(net)

        assert share == 1
        assert np.isfinite(shuffled.predict(np.full((1, 16, 16, 1), 99.0), verbose=0)).all()


class TestBenchmark:
    def test_the_control_is_of_edges_and_not_of_brightness(self):
        images = np.full((1, 32, 32), 200, np.uint8)
        images[0, :, 16:] = 40

        edges = benchmark.compute_edges(images)[0]

        assert edges[:, 15:17].min() > 0.9
        assert edges[:, :8].max() < 1e-3

    def test_methods_stand_side_by_side_above_a_map_of_edges(self, model, collection, monkeypatch, tmp_path):
        monkeypatch.setattr(benchmark, "find_lungs", lambda images: np.ones(images.shape, bool))

        found = benchmark.benchmark_explanations(
            model,
            collection,
            other=model,
            layer="conv_1",
            methods=("hirescam", "integrated_gradients", "rise"),
            num_images=12,
        )
        figures = found.table.metrics

        assert tuple(figures) == ("hirescam", "integrated_gradients", "rise", "edges")
        assert figures["hirescam"]["peak_in_lesion"].value == 1
        assert figures["hirescam"]["peak_in_lesion"].n == 12
        assert figures["rise"]["peak_in_lesion"].n == 3, "slow methods are measured on fewer images"
        assert figures["hirescam"]["heat_in_lungs"].value == 1
        assert figures["edges"]["survives_all"].value == pytest.approx(1)
        assert figures["hirescam"]["survives_all"].value < 0.99
        assert figures["hirescam"]["survives_last"] != figures["hirescam"]["survives_all"]
        assert figures["hirescam"]["other_seed"].value == pytest.approx(1, abs=1e-6)
        assert "shows the film and not the net" in found.table.remarks["edges"]
        assert "peaks on a known lesion in 100 of 100 cases" in found.table.remarks["hirescam"]
        assert set(found.claim) == {"centrality_normal", "centrality_pneumonia", "centrality_difference"}

    def test_without_masks_opacities_are_pasted_and_kept_where_noticed(self, model, collection, monkeypatch):
        from pneumoscope.explain import cases

        def paste(images, *, seed):
            pasted, masks = blobs.draw_blobs(len(images), seed)
            masks[::2], pasted[::2] = False, images[::2]
            return pasted, masks

        monkeypatch.setattr(cases, "paste_opacity", paste)
        bare = Dataset(collection.images, collection.table, collection.skipped)

        lesions = cases.choose_lesions(model, bare, num_images=12)

        assert len(lesions) == 6
        assert lesions.masks.any(axis=(1, 2)).all()
        assert lesions.class_indices.tolist() == [1] * 6
        assert set(lesions.patients) <= set(bare.table["patient"][12:])


def test_a_net_of_blobs_cares_for_exposure_and_not_for_place(model):
    images, _ = blobs.draw_blobs(6, seed=2)

    found = probe_concepts(model, images, np.arange(6).astype(str))

    assert found["gamma 0.7"].value > found["moved by 6 pixels"].value
    assert abs(found["moved by -6 pixels"].value) < 0.1
    assert found["changed decisions, hidden border"].n == 6


def test_what_differs_from_the_other_class_is_where_the_blob_is(phantoms):
    train = phantoms.as_split("train")
    embeddings = np.random.default_rng(0).random((len(train), 4)).astype(np.float32)
    image = train.images[int(np.flatnonzero(train.table["label"] == "normal")[0])].copy()
    image[60:90, 20:45] = 255

    found = contrast_with_other_class(image, embeddings[0], label=1, embeddings=embeddings, dataset=train)

    assert set(train.table["label"][found.rows]) == {"normal"}
    assert max(found.brightness, key=found.brightness.get) == "right lower"
    assert found.difference[75, 32] > found.difference[75, 95]
    with pytest.raises(ValueError, match="0 training images that are pneumonia"):
        sick = train.select(train.table["label"].to_numpy() == "normal")
        contrast_with_other_class(image, embeddings[0], label=0, embeddings=embeddings[: len(sick)], dataset=sick)
