import keras
import numpy as np
import pytest
from keras import layers

from pneumoscope.explain.gradients import blur_images, integrate_gradients
from pneumoscope.explain.methods import METHODS, explain
from pneumoscope.explain.scorer import Scorer
from pneumoscope.models.linear import copy_linear

SIZE = 32


def nest(flat):
    """Return the model with its first layers as a nested model."""
    trunk = keras.Model(flat.input, flat.get_layer("pool_1").output, name="backbone")
    features = inputs = keras.Input((SIZE, SIZE, 1), name="outer")
    features = trunk(features)
    for name in ("conv_2", "mean", "output"):
        layer = type(flat.get_layer(name)).from_config(flat.get_layer(name).get_config())
        features = layer(features)
        layer.set_weights(flat.get_layer(name).get_weights())
    return keras.Model(inputs, features)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_highlights_the_blob(blob_model, draw_blobs, method):
    images, masks = draw_blobs()
    heatmaps = explain(blob_model, images, method=method, layer="conv_1", class_indices=[1, 1], seed=1)
    assert heatmaps.shape == images.shape
    assert heatmaps.dtype == np.float32
    assert heatmaps.min() >= 0
    np.testing.assert_allclose(heatmaps.max(axis=(1, 2)), 1, atol=1e-6)
    for heatmap, mask in zip(heatmaps, masks, strict=True):
        assert heatmap[mask].mean() > 2 * heatmap[~mask].mean(), "the blob is brighter than what is around it"


@pytest.mark.parametrize("method", ["rise", "smoothgrad"])
def test_the_same_seed_gives_the_same_map(blob_model, draw_blobs, method):
    images, _ = draw_blobs(1)
    maps = [explain(blob_model, images, method=method, class_indices=[1], seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert (maps[0] != maps[2]).any()


def test_before_global_averaging_maps_equal_the_class_activation_map(blob_model, draw_blobs):
    images, _ = draw_blobs()
    until_layer = keras.Model(blob_model.input, blob_model.get_layer("conv_2").output)
    features = until_layer.predict(images[..., None], verbose=0)
    maps = np.maximum(features @ np.array([-0.5 * 8, -0.5 * -1]) * -1, 0)
    expected = Scorer(blob_model, "conv_2").upsample(maps)
    for method in ("gradcam", "hirescam", "xgradcam"):
        given = explain(blob_model, images, method=method, layer="conv_2", class_indices=[1, 1])
        np.testing.assert_allclose(given, expected, atol=1e-5, err_msg=method)


def test_integrated_gradients_sum_to_the_gain_of_the_score(blob_model, draw_blobs):
    images, _ = draw_blobs()
    scorer = Scorer(blob_model)
    chosen = scorer.choose([1, 0], images)
    attributions = integrate_gradients(scorer, images, chosen, steps=200)
    scores = [scorer.score(pixels.astype(np.float32)) for pixels in (images, blur_images(images))]
    np.testing.assert_allclose(attributions.sum(axis=(1, 2)), ((scores[0] - scores[1]) * chosen).sum(axis=1), rtol=0.02)


def test_an_ablated_filter_reduces_the_score_by_its_contribution(blob_model, draw_blobs):
    images, _ = draw_blobs(1)
    scorer = Scorer(blob_model, "conv_2")
    features, gradients = scorer.differentiate_layer(images, scorer.choose([1], images))
    without = scorer.score(images.astype(np.float32), change=features * np.array([-1, 0], np.float32))
    gave = (features * gradients).sum(axis=(1, 2))[0, 0]
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
def test_layers_of_nested_models_give_the_same_maps(blob_model, draw_blobs, method, layer):
    images, _ = draw_blobs(2)
    nested = nest(blob_model)
    given = explain(nested, images, method=method, layer=layer)
    np.testing.assert_allclose(given, explain(blob_model, images, method=method, layer=layer and "conv_1"), atol=1e-5)


def test_layers_beside_a_skip_connection_have_gradients(draw_blobs):
    keras.utils.set_random_seed(0)
    features = inputs = keras.Input((SIZE, SIZE, 1))
    features = layers.Conv2D(2, 3, padding="same", activation="relu", name="before")(features)
    aside = layers.Conv2D(2, 3, padding="same", activation="relu", name="aside")(features)
    features = layers.GlobalAveragePooling2D()(layers.Add()([features, 2 * aside]))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(features))
    images, _ = draw_blobs(2)
    scorer = Scorer(model, "aside")

    features, gradients = scorer.differentiate_layer(images, scorer.choose([1, 1], images))

    kernel = keras.ops.convert_to_numpy(scorer.flat.layers[-1].kernel)[:, 1]
    np.testing.assert_allclose(gradients, np.broadcast_to(2 * kernel / SIZE**2, features.shape), rtol=1e-4)


def test_the_scores_of_the_copy_are_the_logits_of_the_model(blob_model, draw_blobs):
    images, _ = draw_blobs(2)
    inner = keras.Sequential([keras.Input((2,)), layers.Dense(2), layers.Softmax()], name="head")
    trunk = keras.Model(blob_model.input, blob_model.get_layer("mean").output, name="trunk")
    model = keras.Sequential([keras.Input((SIZE, SIZE, 1)), trunk, inner])
    scores = copy_linear(model).predict(images[..., None], verbose=0)
    assert np.abs(scores.sum(axis=1) - 1).max() > 1e-3
    given = keras.ops.convert_to_numpy(keras.ops.softmax(scores))
    np.testing.assert_allclose(given, model.predict(images[..., None], verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "gradcam+"}, "'gradcam\\+', expected one of gradcam, gradcam\\+\\+, hirescam"),
        ({"layer": "conv_9"}, "'conv_9' does not exist.*conv_1, pool_1, conv_2"),
        ({"layer": "output"}, "'output' has no feature map"),
        ({"images": np.zeros((1, SIZE, SIZE), np.float32)}, "float32, expected"),
        ({"images": np.zeros((1, 48, 48), np.uint8)}, r"\(1, 48, 48\).*\(n, 32, 32\) uint8"),
        ({"class_indices": [7]}, "values 0 to 1"),
        ({"class_indices": [0, 1]}, r"expected \(1,\)"),
    ],
)
def test_invalid_arguments_raise_an_error(blob_model, change, message):
    given = {"images": np.zeros((1, SIZE, SIZE), np.uint8)} | change
    with pytest.raises(ValueError, match=message):
        explain(blob_model, given.pop("images"), **given)


@pytest.mark.parametrize("method", ["hirescam", "fullgrad", "guided_backprop", "ablationcam"])
def test_maps_do_not_depend_on_the_dtype_policy(blob_model, draw_blobs, method):
    images, _ = draw_blobs()
    expected = explain(blob_model, images, method=method, layer="conv_1", class_indices=[1, 1])
    keras.config.set_dtype_policy("mixed_bfloat16")
    heatmaps = explain(blob_model, images, method=method, layer="conv_1", class_indices=[1, 1])
    np.testing.assert_allclose(heatmaps, expected, atol=1e-5)


def test_a_model_with_one_output_is_explained_for_both_classes(blob_model, draw_blobs):
    images, _ = draw_blobs()
    hidden = blob_model.get_layer("mean").output
    logit = layers.Dense(1, activation="sigmoid", name="logit")
    model = keras.Model(blob_model.input, logit(hidden))
    logit.set_weights([np.array([[4.0], [-0.5]]), np.array([-0.1])])
    for method in ("hirescam", "fullgrad", "occlusion"):
        maps, expected = (explain(one, images, method=method, layer="conv_1") for one in (model, blob_model))
        np.testing.assert_allclose(maps, expected, atol=0.02, err_msg=method)
    negative = explain(model, images, method="hirescam", layer="conv_1", class_indices=[0, 0])
    assert np.abs(negative - maps).max() > 0.5


def test_a_network_with_squeeze_and_excitation_is_explained_at_its_last_feature_map():
    model = keras.applications.MobileNetV3Small(weights=None, input_shape=(64, 64, 3), pooling="avg", include_top=False)
    scorer = Scorer(keras.Model(model.input, layers.Dense(3, activation="softmax")(model.output)))
    assert scorer.flat.get_layer(scorer.layer).output.shape[1:3] == (2, 2)
    assert scorer.fields[0].step == 32
