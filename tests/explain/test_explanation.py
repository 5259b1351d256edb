import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.explain.explanation import explain_classifier
from pneumoscope.explain.methods import explain
from pneumoscope.explain.patches import find_patches, map_features
from pneumoscope.explain.scorer import list_layers
from pneumoscope.io.archive import load_result, save_result
from pneumoscope.labels import LabelSet
from pneumoscope.models.receptive_field import Field, receptive_fields
from pneumoscope.phantoms.phantom import phantom_dataset

LAYERS = ("conv_1", "conv_2", "conv_3")
SIZE = 128
BINARY = KERMANY_LABELS.binary()


def build_model(size, *, filters=(2, 4, 4)):
    """Return a small classifier with the layer names of the reference study's."""
    features = inputs = keras.Input((size, size, 1))
    features = layers.Rescaling(1 / 255)(features)
    for number, count in enumerate(filters, start=1):
        features = layers.Conv2D(count, 3, activation="relu", name=f"conv_{number}")(features)
        features = layers.MaxPooling2D(name=f"pool_{number}")(features)
    features = layers.Flatten(name="flatten")(features)
    features = layers.BatchNormalization(momentum=0.8)(features)
    features = layers.Dense(64, activation="relu", name="embedding")(features)
    features = layers.Dropout(0.5)(features)
    return keras.Model(inputs, layers.Dense(2, activation="sigmoid", name="output")(features))


def build_spot_model(size=32, *, activation="sigmoid"):
    """Return a model with known weights: one filter passes brightness on, which is evidence of pneumonia anywhere."""
    features = inputs = keras.Input((size, size, 1))
    features = layers.Conv2D(1, 1, activation="relu", name="conv_1")(features)
    features = layers.AveragePooling2D(2, name="pool_1")(features)
    features = layers.Flatten()(features)
    model = keras.Model(inputs, layers.Dense(2, activation=activation, name="output")(features))
    model.get_layer("conv_1").set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])
    weights = np.stack([-np.ones((size // 2) ** 2), np.ones((size // 2) ** 2)], axis=1)
    model.get_layer("output").set_weights([weights, np.array([5.0, -5.0])])
    return model


def draw_spots(count, size=32, seed=0):
    """Return dark images with one bright spot each, and where it is."""
    places = np.random.default_rng(seed).integers(2, size - 2, (count, 2))
    images = np.zeros((count, size, size), np.uint8)
    for image, (row, column) in zip(images, places, strict=True):
        image[row, column] = 255
    return images, places


def make_dataset(labels, *, split="test", label_set=KERMANY_LABELS):
    columns = {"patient": [f"person{number}" for number in range(len(labels))], "label": labels}
    table = pd.DataFrame({**columns, "uncertain": "", "split": split})
    return Dataset(draw_spots(len(labels))[0], table, pd.DataFrame(), label_set)


@pytest.fixture(scope="module")
def trained():
    """Return a small classifier that was trained on phantoms, and the phantoms."""
    dataset = phantom_dataset(num_train=300, num_test=60, size=SIZE, seed=0)
    train = dataset.split("train")
    keras.utils.set_random_seed(0)
    model = build_model(SIZE, filters=(8, 16, 32))
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    targets = np.eye(2, dtype=np.float32)[train.labels(BINARY)]
    model.fit(train.images[..., None], targets, epochs=6, batch_size=32, verbose=0)
    return model, dataset


@pytest.fixture(scope="module")
def explanation(trained):
    return explain_classifier(*trained, label_set=BINARY, seed=3)


class TestGeometry:
    @pytest.mark.parametrize("padding", ["valid", "same"])
    @pytest.mark.parametrize(
        "convolution",
        [{"strides": 2}, {"dilation_rate": 2}, {"kernel_size": (5, 3)}, {"kernel_size": 2, "strides": (1, 2)}],
        ids=str,
    )
    def test_a_position_depends_on_the_pixels_of_its_field_alone(self, padding, convolution):
        inputs = keras.Input((21, 26, 1))
        settings = {"kernel_size": 3, "padding": padding, "kernel_initializer": "ones"} | convolution
        features = layers.Conv2D(1, 3, padding=padding, kernel_initializer="ones")(inputs)
        features = layers.Conv2D(1, name="last", **settings)(layers.AveragePooling2D(2, padding=padding)(features))
        model = keras.Model(inputs, features)
        rows, columns = receptive_fields(model, "last")
        position = (2, 3)
        one_pixel_each = np.eye(21 * 26, dtype=np.float32).reshape(-1, 21, 26, 1)
        answers = keras.ops.convert_to_numpy(model(one_pixel_each))[:, position[0], position[1], 0].reshape(21, 26)

        lit = np.argwhere(answers)
        first, last = (
            [field.pixels(place)[end] for field, place in zip((rows, columns), position, strict=True)]
            for end in (0, -1)
        )
        assert lit.min(axis=0).tolist() == np.maximum(first, 0).tolist()
        assert lit.max(axis=0).tolist() == np.minimum(last, (20, 25)).tolist()

    def test_joined_paths_have_the_union_of_their_fields(self):
        inputs = keras.Input((16, 16, 1))
        wide = layers.Conv2D(1, 5, padding="same")(inputs)
        joined = layers.Add(name="joined")([wide, layers.Conv2D(1, 3, padding="same")(inputs)])
        assert receptive_fields(keras.Model(inputs, joined), "joined")[0] == Field(-2, 2, 1)


class TestGradcam:
    @pytest.mark.parametrize("method", ["hirescam", "gradcam"])
    def test_the_peak_is_on_the_spot(self, method):
        images, places = draw_spots(40)
        heatmaps = explain(build_spot_model(), images, method=method, layer="conv_1")
        assert heatmaps.shape == (40, 32, 32)
        assert heatmaps.dtype == np.float32
        np.testing.assert_array_equal([np.unravel_index(heatmap.argmax(), (32, 32)) for heatmap in heatmaps], places)
        np.testing.assert_allclose(heatmaps, images / 255, atol=1e-6)

    @pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
    def test_saturated_predictions_are_explained(self, activation):
        images = np.full((1, 32, 32), 255, np.uint8)
        heatmaps = explain(build_spot_model(activation=activation), images, method="hirescam", layer="conv_1")
        np.testing.assert_allclose(heatmaps, 1, atol=1e-6)

    def test_the_predicted_class_is_explained_by_default(self):
        model, (images, _) = build_spot_model(), draw_spots(3)
        decided = explain(model, images, method="hirescam", layer="conv_1")
        pneumonia = explain(model, images, method="hirescam", layer="conv_1", class_indices=[1, 1, 1])
        normal = explain(model, images, method="hirescam", layer="conv_1", class_indices=[0, 0, 0])
        np.testing.assert_array_equal(decided, pneumonia)
        assert not normal.any()

    def test_hirescam_distinguishes_places_of_one_filter(self):
        model = build_spot_model()
        weights = np.ones((16, 16))
        weights[:, 8:] = -2
        model.get_layer("output").set_weights([np.stack([-weights, weights], axis=-1).reshape(-1, 2), np.zeros(2)])
        images = np.full((1, 32, 32), 100, np.uint8)

        here = explain(model, images, method="hirescam", layer="conv_1", class_indices=[1])[0]
        averaged = explain(model, images, method="gradcam", layer="conv_1", class_indices=[1])[0]

        assert (here[:, :16] == 1).all()
        assert not here[:, 16:].any()
        assert not averaged.any()

    def test_positions_lie_at_the_center_of_their_fields(self):
        features = inputs = keras.Input((33, 33, 1))
        features = layers.Conv2D(1, 9, strides=4, kernel_initializer="ones", name="conv_1")(features)
        outputs = layers.Dense(1, kernel_initializer="ones", name="output")(layers.Flatten()(features))
        image = np.zeros((1, 33, 33), np.uint8)
        image[0, 12:21, 8:17] = 200
        heatmap = explain(keras.Model(inputs, outputs), image, method="hirescam", layer="conv_1", class_indices=[1])[0]
        assert np.unravel_index(heatmap.argmax(), heatmap.shape) == (16, 12)
        assert (heatmap[16, [0, 32]] == 0).all(), "no field has its center near the border"


class TestPatches:
    def test_patches_are_those_that_activate_a_filter_most(self):
        inputs = keras.Input((24, 24, 1))
        model = keras.Model(inputs, layers.Conv2D(2, 3, activation="relu", name="conv_1")(inputs))
        plus = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) / 5 - np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]])
        model.get_layer("conv_1").set_weights([np.stack([-np.ones((3, 3)), plus], -1)[:, :, None], np.zeros(2)])
        images, places = draw_spots(12, size=24)
        for image, (row, column) in zip(images, places, strict=True):
            image[row - 1 : row + 2, column] = image[row, column - 1 : column + 2] = 200

        patches, filters = find_patches(model, images, layers=("conv_1",))

        assert filters["conv_1"].tolist() == [1], "the other filter is never active"
        assert patches["conv_1"].shape == (1, 9, 32, 32)
        assert patches["conv_1"].dtype == np.float32
        assert (patches["conv_1"][0, :, 16, 16] > 0.7).all()
        assert (patches["conv_1"][0][:, [0, 0, 31, 31], [0, 31, 0, 31]] == 0).all()

    def test_feature_maps_are_the_outputs_of_the_layers(self):
        model, image = build_model(32), np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)

        maps = map_features(model, image, layers=LAYERS)

        assert {name: values.shape for name, values in maps.items()} == {
            "conv_1": (2, 30, 30),
            "conv_2": (4, 13, 13),
            "conv_3": (4, 4, 4),
        }
        kernel = keras.ops.convert_to_numpy(model.get_layer("conv_1").kernel)[:, :, 0, 1]
        assert maps["conv_1"][1, 4, 7] == pytest.approx(max((image[4:7, 7:10] / 255 * kernel).sum(), 0), abs=1e-5)


class TestExplanation:
    def test_heat_of_phantoms_peaks_on_the_true_lesion(self, explanation):
        metrics = explanation.metrics
        peak, chance = metrics["peak_in_lesion"], metrics["lesion_area"]
        assert peak.n > 25, "the classifier detects pneumonia"
        assert peak.value > 0.7
        assert peak.low > 1.5 * chance.high
        assert metrics["peak_in_lesion_averaged"].high < peak.low

    def test_the_explanation_is_complete_and_can_be_saved(self, trained, explanation, tmp_path):
        model, dataset = trained

        assert list_layers(model) == explanation.layers == LAYERS
        assert explanation.labels.tolist() == [0, 1] * 4
        assert set(dataset.table["split"][explanation.examples]) == {"test"}
        np.testing.assert_allclose(explanation.images * 255, dataset.images[explanation.examples], atol=1e-4)
        assert explanation.decisions[:2].tolist() == [0, 1], "each class begins with a correct prediction"
        assert explanation.heatmaps.shape == (8, 3, SIZE, SIZE)
        assert explanation.heatmaps.min() >= 0
        assert explanation.heatmaps.max() == 1
        assert explanation.feature_maps["conv_3"].shape == (32, 28, 28)
        assert explanation.patches["conv_1"].shape[1:] == (9, 32, 32)
        assert len(explanation.patch_filters["conv_3"]) == len(explanation.patches["conv_3"]) == 8
        names = ["centrality_negative", "centrality_positive", "centrality_difference", "peak_in_lesion"]
        assert set(explanation.metrics) == {*names, *(f"{name}_averaged" for name in names), "lesion_area"}
        save_result(explanation, tmp_path / "explanation.npz")
        np.testing.assert_array_equal(load_result(tmp_path / "explanation.npz").heatmaps, explanation.heatmaps)

    def test_images_without_masks_and_of_one_class_are_explained(self):
        explanation = explain_classifier(build_spot_model(), make_dataset(["viral"] * 6), label_set=BINARY)
        assert explanation.labels.tolist() == [1] * 4
        assert "peak_in_lesion" not in explanation.metrics
        assert np.isnan(explanation.metrics["centrality_difference"].value)

    @pytest.mark.parametrize("multi_label", [False, True])
    def test_any_classes_are_explained(self, multi_label):
        label_set = LabelSet(("dark", "bright"), multi_label=multi_label)
        dataset = make_dataset(["bright"] * 3 + ["" if multi_label else "dark"] * 3, label_set=label_set)
        dataset.images[3:] = 0
        explanation = explain_classifier(build_spot_model(), dataset, label_set=label_set)
        assert set(explanation.labels.tolist()) == ({-1, 1} if multi_label else {0, 1})
        assert explanation.label_set == label_set
        assert bool(explanation.metrics) == multi_label, "only a multi-label set has normals"

    def test_missing_test_images_raise_an_error(self):
        with pytest.raises(ValueError, match="0 labeled test images"):
            explain_classifier(build_spot_model(), make_dataset(["normal"] * 2, split="train"), label_set=BINARY)

    def test_models_without_convolution_raise_an_error(self):
        inputs = keras.Input((8, 8, 1))
        with pytest.raises(ValueError, match="no convolutional layer"):
            list_layers(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs))))
