import keras
import numpy as np
import pytest
from keras import layers

from pneumoscope.explain.gradients import blur_images, integrate_gradients
from pneumoscope.explain.methods import METHODS, explain
from pneumoscope.explain.scorer import Scorer
from pneumoscope.models.linear import copy_linear

SIZE = 32


@pytest.fixture(autouse=True)
def full_precision():
    """Build nets in 32 bits, whatever precision earlier tests trained in."""
    keras.config.set_dtype_policy("float32")


def build_blob_net(activation="softmax"):
    """Return a net set by hand: bright 5 x 5 blobs anywhere mean pneumonia, and a second filter says nothing of it."""
    inputs = keras.Input((SIZE, SIZE, 1), name="image")
    features = layers.Rescaling(1 / 255)(inputs)
    features = layers.Conv2D(2, 5, padding="same", activation="relu", name="conv_1")(features)
    features = layers.AveragePooling2D(2, name="pool_1")(features)
    features = layers.Conv2D(2, 1, activation="relu", name="conv_2")(features)
    features = layers.GlobalAveragePooling2D(name="mean")(features)
    model = keras.Model(inputs, layers.Dense(2, activation=activation, name="output")(features), name="blobs")
    blob = np.stack([np.ones((5, 5)), -np.ones((5, 5))], axis=-1)[:, :, None]
    model.get_layer("conv_1").set_weights([blob, np.array([-12.0, 4.2])])
    model.get_layer("conv_2").set_weights([np.eye(2)[None, None], np.zeros(2)])
    model.get_layer("output").set_weights([np.array([[-4.0, 4.0], [0.5, -0.5]]), np.array([0.1, -0.1])])
    return model


def draw_blobs(count=2, seed=0):
    """Return dim noise with one bright 7 x 7 square each, `(n, H, W)` uint8, and where it is, `(n, H, W)` bool."""
    rng = np.random.default_rng(seed)
    images, masks = rng.integers(20, 60, (count, SIZE, SIZE), dtype=np.uint8), np.zeros((count, SIZE, SIZE), bool)
    for mask, (row, column) in zip(masks, rng.integers(3, SIZE - 10, (count, 2)), strict=True):
        mask[row : row + 7, column : column + 7] = True
    images[masks] = 230
    return images, masks


def nest():
    """Return the blob net with its first layers as a net within the net, and as it is."""
    flat = build_blob_net()
    trunk = keras.Model(flat.input, flat.get_layer("pool_1").output, name="backbone")
    features = inputs = keras.Input((SIZE, SIZE, 1), name="outer")
    features = trunk(features)
    for name in ("conv_2", "mean", "output"):
        layer = type(flat.get_layer(name)).from_config(flat.get_layer(name).get_config())
        features = layer(features)
        layer.set_weights(flat.get_layer(name).get_weights())
    return keras.Model(inputs, features), flat


@pytest.mark.parametrize("method", METHODS)
def test_each_method_lights_the_blob_that_the_net_sees(method):
    images, masks = draw_blobs()

    heatmaps = explain(build_blob_net(), images, method=method, layer="conv_1", class_indices=[1, 1], seed=1)

    assert heatmaps.shape == images.shape
    assert heatmaps.dtype == np.float32
    assert heatmaps.min() >= 0
    np.testing.assert_allclose(heatmaps.max(axis=(1, 2)), 1, atol=1e-6)
    for heatmap, mask in zip(heatmaps, masks, strict=True):
        assert heatmap[mask].mean() > 2 * heatmap[~mask].mean(), "the blob is brighter than what is around it"


@pytest.mark.parametrize("method", ["rise", "smoothgrad"])
def test_the_same_seed_gives_the_same_map(method):
    images, _ = draw_blobs(1)

    maps = [explain(build_blob_net(), images, method=method, class_indices=[1], seed=seed) for seed in (1, 1, 2)]

    np.testing.assert_array_equal(maps[0], maps[1])
    assert (maps[0] != maps[2]).any()


def test_behind_the_last_cells_of_a_mean_the_maps_are_the_class_activation_map():
    images, _ = draw_blobs()
    model = build_blob_net()
    cells = keras.Model(model.input, model.get_layer("conv_2").output).predict(images[..., None], verbose=0)
    maps = np.maximum(cells @ np.array([-0.5 * 8, -0.5 * -1]) * -1, 0)
    expected = Scorer(model, "conv_2").upsample(maps)

    for method in ("gradcam", "hirescam", "xgradcam"):
        given = explain(model, images, method=method, layer="conv_2", class_indices=[1, 1])
        np.testing.assert_allclose(given, expected, atol=1e-5, err_msg=method)


def test_integrated_gradients_add_up_to_what_the_score_gained():
    images, _ = draw_blobs()
    scorer = Scorer(build_blob_net())
    chosen = scorer.choose([1, 0], images)

    found = integrate_gradients(scorer, images, chosen, steps=200)

    scores = [scorer.score(pixels.astype(np.float32)) for pixels in (images, blur_images(images))]
    np.testing.assert_allclose(found.sum(axis=(1, 2)), ((scores[0] - scores[1]) * chosen).sum(axis=1), rtol=0.02)


def test_an_ablated_filter_takes_with_it_what_it_gave_to_the_score():
    images, _ = draw_blobs(1)
    scorer = Scorer(build_blob_net(), "conv_2")
    cells, gradients = scorer.differentiate_layer(images, scorer.choose([1], images))

    without = scorer.score(images.astype(np.float32), change=cells * np.array([-1, 0], np.float32))

    gave = (cells * gradients).sum(axis=(1, 2))[0, 0]
    assert scorer.score(images.astype(np.float32))[0, 1] - without[0, 1] == pytest.approx(gave, rel=1e-4)


@pytest.mark.parametrize(
    ("method", "layer"),
    [
        ("gradcam", "backbone/conv_1"),
        ("gradcam", "conv_1"),
        ("ablationcam", "backbone.conv_1"),
        ("guided_backprop", None),
        ("fullgrad", None),
    ],
)
def test_a_layer_of_a_net_within_the_net_is_looked_through_like_any_other(method, layer):
    images, _ = draw_blobs(2)
    nested, flat = nest()

    given = explain(nested, images, method=method, layer=layer)

    np.testing.assert_allclose(given, explain(flat, images, method=method, layer=layer and "conv_1"), atol=1e-5)


def test_a_layer_beside_a_short_cut_can_be_looked_through():
    keras.utils.set_random_seed(0)
    features = inputs = keras.Input((SIZE, SIZE, 1))
    features = layers.Conv2D(2, 3, padding="same", activation="relu", name="before")(features)
    aside = layers.Conv2D(2, 3, padding="same", activation="relu", name="aside")(features)
    features = layers.GlobalAveragePooling2D()(layers.Add()([features, 2 * aside]))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(features))
    images, _ = draw_blobs(2)
    scorer = Scorer(model, "aside")

    cells, gradients = scorer.differentiate_layer(images, scorer.choose([1, 1], images))

    kernel = keras.ops.convert_to_numpy(scorer.flat.layers[-1].kernel)[:, 1]
    np.testing.assert_allclose(gradients, np.broadcast_to(2 * kernel / SIZE**2, cells.shape), rtol=1e-4)


def test_the_copy_gives_scores_that_the_model_turns_into_probabilities():
    images, _ = draw_blobs(2)
    inner = keras.Sequential([keras.Input((2,)), layers.Dense(2), layers.Softmax()], name="head")
    blobs = build_blob_net()
    trunk = keras.Model(blobs.input, blobs.get_layer("mean").output, name="trunk")
    model = keras.Sequential([keras.Input((SIZE, SIZE, 1)), trunk, inner])

    scores = copy_linear(model).predict(images[..., None], verbose=0)

    assert np.abs(scores.sum(axis=1) - 1).max() > 1e-3
    given = keras.ops.convert_to_numpy(keras.ops.softmax(scores))
    np.testing.assert_allclose(given, model.predict(images[..., None], verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "gradcam+"}, "'gradcam\\+', expected one of gradcam, gradcam\\+\\+, hirescam"),
        ({"layer": "conv_9"}, "'conv_9' is not in the model.*conv_1, pool_1, conv_2"),
        ({"layer": "output"}, "'output' has no grid"),
        ({"images": np.zeros((1, SIZE, SIZE), np.float32)}, "float32, expected"),
        ({"class_indices": [7]}, "values 0 to 1"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    given = {"images": np.zeros((1, SIZE, SIZE), np.uint8)} | change

    with pytest.raises(ValueError, match=message):
        explain(build_blob_net(), given.pop("images"), **given)


@pytest.mark.parametrize("method", ["hirescam", "fullgrad", "guided_backprop", "ablationcam"])
def test_maps_are_of_full_precision_whatever_the_policy_of_training(method):
    model, (images, _) = build_blob_net(), draw_blobs()
    expected = explain(model, images, method=method, layer="conv_1", class_indices=[1, 1])
    keras.config.set_dtype_policy("mixed_bfloat16")

    found = explain(model, images, method=method, layer="conv_1", class_indices=[1, 1])

    np.testing.assert_allclose(found, expected, atol=1e-5)
