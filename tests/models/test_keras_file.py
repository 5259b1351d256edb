"""Keras files of other people: opened in safe mode, as flat models of gray levels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")
from keras import layers

from pneumoscope.errors import ModelError, TrainingError
from pneumoscope.explain.layers import list_heatmap_layers
from pneumoscope.labels import LabelSet
from pneumoscope.models.card import TrainingRecord
from pneumoscope.models.keras_file import PREPROCESSING
from pneumoscope.models.prediction import describe_constant_output, predict_probabilities
from pneumoscope.models.registry import build_architecture
from pneumoscope.models.saved_model import init_weights, load_model, save_model
from pneumoscope.models.settings import TrainingSettings

SIZE = 32
THREE = LabelSet(("healthy", "tuberculosis", "covid"), negative="healthy")
TWO = THREE.binary()
FINDINGS = LabelSet(("effusion", "mass"), multi_label=True)
GRAY = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE)).astype(np.uint8)


@pytest.fixture(autouse=True)
def full_precision() -> None:
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)


def build_sequential(channels: int = 1, outputs: int = 3, activation: str | None = "softmax") -> "keras.Model":
    body = [layers.Conv2D(4, 3, strides=2, activation="relu", name="conv"), layers.GlobalAveragePooling2D(name="pool")]
    head = [layers.Dropout(0.5), layers.Dense(outputs, activation=activation)]
    return keras.Sequential([keras.Input((SIZE, SIZE, channels)), *body, *head])


def build_nested() -> "keras.Model":
    """Return a functional model around a functional and a sequential one, with equal layer names, for any size."""
    colors = keras.Input((None, None, 3))
    parts = []
    for name in ("left", "right"):
        inner = keras.Input((None, None, 3))
        parts.append(keras.Model(inner, layers.Conv2D(4, 3, activation="relu", name="conv")(inner), name=name))
    features = parts[0](colors / 127.5 - 1) + parts[1](colors / 255)
    features = keras.ops.mean(features, axis=(1, 2))
    head = keras.Sequential([layers.Dense(8, activation="relu", name="hidden"), layers.Dense(3), layers.Softmax()])
    return keras.Model(colors, head(features), name="nested")


def build_normalizing(name: str = "code") -> "keras.Model":
    normalization = layers.Normalization(axis=None, name="normalization")
    normalization.adapt(np.array([0.0, 100.0, 255.0]))
    head = [layers.Flatten(), layers.Dense(4, name=name), layers.Dense(1, activation="sigmoid")]
    return keras.Sequential([keras.Input((SIZE, SIZE, 1)), normalization, *head])


def save(model: "keras.Model", folder: Path) -> Path:
    model.save(folder / "own.keras")
    return folder / "own.keras"


@pytest.mark.parametrize(
    ("build", "preprocess", "labels", "embedding"),
    [
        (build_sequential, "0-1", THREE, "pool"),
        (lambda: build_sequential(channels=3), "imagenet-torch", THREE, "pool"),
        (lambda: build_sequential(channels=3), "imagenet-caffe", THREE, "pool"),
        (lambda: build_sequential(outputs=1, activation="sigmoid"), "minus-1-1", TWO, "pool"),
        (lambda: build_sequential(outputs=2, activation="sigmoid"), "0-1", FINDINGS, "pool"),
        (build_nested, "none", THREE, "hidden"),
        (build_normalizing, None, TWO, "code"),
    ],
)
def test_a_file_becomes_a_flat_model_with_the_same_outputs(
    tmp_path: Path, build: Callable[[], "keras.Model"], preprocess: str | None, labels: LabelSet, embedding: str
) -> None:
    own = build()
    saved = load_model(save(own, tmp_path), label_set=labels, preprocess=preprocess, size=SIZE)

    factor, offset = PREPROCESSING[preprocess or "none"]
    inputs = np.repeat(GRAY[..., None].astype(np.float32), own.input_shape[-1], axis=-1) * factor + offset
    expected = np.asarray(own(inputs.astype(np.float32)))
    if expected.shape[1] == 1:
        expected = np.concatenate([1 - expected, expected], axis=1)
    np.testing.assert_allclose(predict_probabilities(saved.model, GRAY, labels), expected, atol=1e-5)
    assert not any(isinstance(layer, keras.Model) for layer in saved.model.layers)
    assert saved.card.label_set == labels and saved.card.embedding_layer == embedding
    assert saved.model.input_shape == (None, SIZE, SIZE, 1)
    assert saved.predict(list(GRAY)).shape == (5, len(labels.classes))


def test_a_wrapped_model_is_saved_as_a_run(tmp_path: Path) -> None:
    own = load_model(save(build_nested(), tmp_path), label_set=THREE, preprocess="none", size=SIZE)
    assert len(list_heatmap_layers(own.model)) == 2
    record = TrainingRecord(
        label_set=THREE,
        settings=TrainingSettings(weights="secret/place.h5"),
        precision="float32",
        seed=0,
        training_data_sha256="",
    )
    save_model(own.model, tmp_path / "run", record)

    for path in (tmp_path / "run", tmp_path / "run" / "model.keras"):
        np.testing.assert_allclose(load_model(path).predict(list(GRAY)), own.predict(list(GRAY)), atol=1e-6)
    assert keras.saving.load_model(tmp_path / "run" / "model.keras").output_shape == (None, 3)
    with pytest.raises(ModelError, match=r"has healthy, tuberculosis, covid by its card, not effusion, mass"):
        load_model(tmp_path / "run", label_set=FINDINGS)
    (tmp_path / "run" / "model.keras").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"missing or not the file its card describes\. Train the model again"):
        load_model(tmp_path / "run")


def test_logits_get_the_activation_of_the_classes(tmp_path: Path) -> None:
    path = save(build_sequential(outputs=2, activation=None), tmp_path)
    for labels, activation in ((TWO, "softmax"), (FINDINGS, "sigmoid")):
        model = load_model(path, label_set=labels, preprocess="0-1").model
        assert model.layers[-1].activation is keras.activations.get(activation)


def build_lambda() -> "keras.Model":
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Lambda(lambda x: x), layers.Flatten(), layers.Dense(2)])


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (build_sequential, {}, "does not begin with Rescaling .* --preprocess 0-1|minus-1-1|"),
        (build_sequential, {"preprocess": "0-2"}, "preprocess is '0-2', expected one of 0-1"),
        (build_sequential, {"preprocess": "imagenet-torch"}, "defined for three channels; .* takes one"),
        (build_sequential, {"preprocess": "0-1", "label_set": TWO}, "3 outputs; expected 2, .*: healthy, abnormal"),
        (build_sequential, {"preprocess": "0-1", "size": 64}, "takes images of 32 x 32; expected 64 x 64"),
        (build_sequential, {"label_set": None}, "has no card: name the classes of its 3 outputs, with --classes"),
        (build_nested, {"preprocess": "0-1"}, "images of any size; name one with --size"),
        (build_lambda, {"preprocess": "0-1"}, "own.keras cannot be opened: .*expected a functional or sequential"),
        (lambda: build_sequential(channels=4), {"preprocess": "0-1"}, r"\(32, 32, 4\); .* one or three channels"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(tmp_path: Path, build, options: dict, message: str) -> None:
    with pytest.raises(ModelError, match=f"(?i){message}"):
        load_model(save(build(), tmp_path), **{"label_set": THREE, **options})


def test_a_damaged_or_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("<html>")
    for name, message in (
        ("text.keras", "cannot be opened"),
        ("none.keras", "does not exist"),
        ("a.h5", "is no folder"),
    ):
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path / name, label_set=THREE)


def test_the_architecture_of_a_file_gets_a_new_head_and_its_weights(tmp_path: Path) -> None:
    path = save(build_normalizing(), tmp_path)
    model = build_architecture(str(path), num_outputs=5, size=48, activation="sigmoid", dropout=0.2, weights=None)
    assert model.input_shape == (None, 48, 48, 1) and model.output_shape == (None, 5)
    assert float(np.asarray(model.get_layer("normalization").mean).ravel()[0]) == pytest.approx(355 / 3)

    same = build_architecture(str(path), num_outputs=5, size=SIZE)
    source = build_normalizing("named_otherwise")
    init_weights(same, save(source, tmp_path))
    np.testing.assert_array_equal(same.get_layer("code").get_weights()[0], source.layers[-2].get_weights()[0])
    with pytest.raises(TrainingError, match="has no layer in common with reference-binary"):
        init_weights(build_architecture("reference-binary", num_outputs=2, size=SIZE), path)


def test_a_function_of_the_user_builds_an_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "import keras",
        "def build(num_outputs, size, channels):",
        "    head = [keras.layers.Flatten(), keras.layers.Dense(num_outputs)]",
        "    return keras.Sequential([keras.Input((size, size, channels)), *head])",
        "def wrong(num_outputs, size, channels): return 3",
    ]
    (tmp_path / "own_network.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    model = build_architecture("own_network:build", num_outputs=3, size=16, dropout=0.3, activation="sigmoid")
    assert model.layers[-1].activation is keras.activations.sigmoid and model.name == "own_network.build"
    for name, message in (("own_network:wrong", "gives a int; expected a Keras model"), ("no:build", "cannot be imp")):
        with pytest.raises(TrainingError, match=message):
            build_architecture(name, num_outputs=3)
    with pytest.raises(TrainingError, match="tiny takes no pretrained weights"):
        build_architecture("tiny", num_outputs=3, weights="imagenet")


def test_a_constant_output_is_described_with_the_range_of_the_input() -> None:
    outputs = np.full((5, 2), 0.5) + np.linspace(0, 1e-4, 5)[:, None]
    assert "nearly the same output for all 5 images" in (describe_constant_output(outputs, GRAY) or "")
    assert f"range from {GRAY.min()} to {GRAY.max()}" in (describe_constant_output(outputs, GRAY) or "")
    assert describe_constant_output(np.eye(2), GRAY[:2]) is None
