from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.explain import faithfulness, quality
from pneumoscope.explain.methods import explain
from pneumoscope.explain.scorer import Scorer
from pneumoscope.research import explain_benchmark as benchmark

BINARY = KERMANY_LABELS.binary()


@pytest.fixture(scope="module")
def collection(draw_blobs):
    """Return twelve images with a blob and twelve without, all for testing."""
    images, masks = draw_blobs(24)
    images[12:] = np.random.default_rng(5).integers(20, 60, images[12:].shape, dtype=np.uint8)
    masks[12:] = False
    columns = {"label": ["viral"] * 12 + ["normal"] * 12}
    table = pd.DataFrame({"patient": [f"person{n}" for n in range(24)], "split": "test", **columns})
    return Dataset(images, table, pd.DataFrame(), KERMANY_LABELS, masks)


class TestPlace:
    def test_a_map_of_the_lesion_scores_1_and_its_opposite_0(self, draw_blobs):
        _, masks = draw_blobs(4)
        right, wrong, empty = masks.astype(float), 1.0 - quality.dilate_masks(masks), np.zeros(masks.shape)
        for measure in (quality.hit_lesion, quality.measure_share_inside):
            np.testing.assert_array_equal(measure(right, masks), 1)
            np.testing.assert_array_equal(measure(wrong, masks), 0)
        assert not quality.hit_lesion(empty, masks).any()
        assert np.isnan(quality.measure_share_inside(empty, masks)).all()

    def test_only_maps_that_shift_with_the_image_are_repeatable(self):
        maps = np.random.default_rng(0).random((3, 32, 32))
        moved = quality.shift_images(maps)
        np.testing.assert_allclose(quality.measure_repeatability(maps, moved), 1)
        assert np.abs(quality.measure_repeatability(maps, maps)).max() < 0.2
        assert quality.correlate_ranks(maps, np.zeros_like(maps)).tolist() == [0, 0, 0]


class TestFaithfulness:
    def test_a_faithful_map_scores_higher_than_its_opposite(self, blob_model, draw_blobs):
        images, masks = draw_blobs(1)
        heatmap = explain(blob_model, images, method="hirescam", layer="conv_1", class_indices=[1])[0] + masks[0]
        rng, predict = np.random.default_rng(0), lambda pixels: blob_model.predict(pixels[..., None], verbose=0)[:, 1]
        road, opposite = (faithfulness.measure_road(predict, images[0], sign * heatmap, rng) for sign in (1, -1))
        assert road > 0.2
        assert opposite < -0.2

    def test_missing_pixels_are_filled_from_their_neighbors(self):
        ramp = np.tile(np.linspace(20, 200, 32), (32, 1)).astype(np.uint8)
        missing = np.zeros(ramp.shape, bool)
        missing[10:20, 10:20] = True
        spoiled = np.where(missing, 0, ramp).astype(np.uint8)
        filled = faithfulness._impute(spoiled, missing, np.random.default_rng(0)).astype(float)
        assert np.abs(filled - ramp)[missing].mean() < 4
        np.testing.assert_array_equal(filled[~missing], ramp[~missing])


class TestRandomization:
    def test_layers_are_permuted_from_the_last_on_and_keep_their_values(self, blob_model):
        before = {layer.name: layer.get_weights() for layer in blob_model.layers if layer.weights}

        shuffled = []
        for share, randomized in quality.randomize_cascading(blob_model, num_stages=3, seed=1):
            changed = {
                name
                for name, old in before.items()
                if any((a != b).any() for a, b in zip(randomized.get_layer(name).get_weights(), old, strict=True))
            }
            shuffled.append((round(share, 2), changed))

        assert [share for share, _ in shuffled] == [0.33, 0.67, 1]
        assert "conv_1" not in shuffled[1][1]
        for name, old in before.items():
            for new, value in zip(randomized.get_layer(name).get_weights(), old, strict=True):
                np.testing.assert_array_equal(np.sort(new.ravel()), np.sort(value.ravel()))
            for kept, value in zip(blob_model.get_layer(name).get_weights(), old, strict=True):
                np.testing.assert_array_equal(kept, value)

    def test_permuted_normalizations_give_finite_outputs(self):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((16, 16, 1))
        features = keras.layers.BatchNormalization(gamma_initializer="random_normal")(keras.layers.Conv2D(4, 3)(inputs))
        features = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(name="last")(features))
        classifier = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(features))
        *_, (share, shuffled) = quality.randomize_cascading(classifier)
        assert share == 1
        assert np.isfinite(shuffled.predict(np.full((1, 16, 16, 1), 99.0), verbose=0)).all()


class TestBenchmark:
    def test_the_control_is_of_edges_and_not_of_brightness(self):
        images = np.full((1, 32, 32), 200, np.uint8)
        images[0, :, 16:] = 40
        edges = benchmark.compute_edges(images)[0]
        assert edges[:, 15:17].min() > 0.9
        assert edges[:, :8].max() < 1e-3

    def test_the_benchmark_compares_methods_with_a_map_of_edges(self, blob_model, collection, monkeypatch):
        monkeypatch.setattr(benchmark, "find_lungs", lambda images: np.ones(images.shape, bool))

        table = benchmark.benchmark_explanations(
            Scorer(blob_model, "conv_1"),
            collection,
            label_set=BINARY,
            other=blob_model,
            methods=("hirescam", "integrated_gradients", "rise"),
            num_images=12,
        )
        metrics = table.metrics

        assert tuple(metrics) == ("hirescam", "integrated_gradients", "rise", "edges")
        assert metrics["hirescam"]["peak_in_lesion"].value == 1
        assert metrics["hirescam"]["peak_in_lesion"].n == 12
        assert metrics["rise"]["peak_in_lesion"].n == 3, "slow methods are measured on fewer images"
        assert metrics["hirescam"]["heat_in_lungs"].value == 1
        assert metrics["edges"]["survives_all"].value == pytest.approx(1)
        assert metrics["hirescam"]["survives_all"].value < 0.99
        assert metrics["hirescam"]["survives_last"] != metrics["hirescam"]["survives_all"]
        assert metrics["hirescam"]["other_seed"].value == pytest.approx(1, abs=1e-6)
        assert table.remarks["edges"].startswith("Fails the parameter-randomization check")
        assert "pointing-game accuracy 100 %" in table.remarks["hirescam"]

    def test_without_masks_detected_opacities_are_chosen(self, blob_model, collection, monkeypatch, draw_blobs):
        from pneumoscope.explain import cases

        def paste(images, *, seed):
            pasted, masks = draw_blobs(len(images), seed)
            masks[::2], pasted[::2] = False, images[::2]
            return pasted, masks

        monkeypatch.setattr(cases, "paste_opacity", paste)
        bare = replace(collection, masks=None)

        lesions = cases.choose_lesions(blob_model, bare, label_set=BINARY, num_images=12)

        assert len(lesions) == 6
        assert lesions.masks.any(axis=(1, 2)).all()
        assert lesions.class_indices.tolist() == [1] * 6
        assert set(lesions.patients) <= set(bare.table["patient"][12:])
