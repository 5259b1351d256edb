"""Model folders from anyone: only files that the card lists are opened, and damage is one sentence."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest

from pneumoscope.errors import ModelError
from pneumoscope.inference.model_set import SHIPPED_DIR, Graph, load_cards, load_model_set
from pneumoscope.models.card import ModelCard, read_card


@pytest.fixture
def folder(tmp_path):
    """Return a copy of the included models with links to their large files."""
    for part in ("classifier", "anomaly", "references"):
        (tmp_path / part).mkdir()
        for path in (SHIPPED_DIR / part).iterdir():
            if path.name == "card.json":
                shutil.copy(path, tmp_path / part)
            else:
                (tmp_path / part / path.name).symlink_to(path)
    return tmp_path


def change_card(folder, part, change):
    path = folder / part / "card.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def list_outside(card):
    card["files"]["../../outside.onnx"] = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("part", ["classifier", "anomaly", "references"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.update(files={}), "does not list (model.onnx|reference_cases.npz)"),
        (list_outside, "expected files in the same folder only"),
        (lambda card: card["files"].update({"..": "0"}), "is missing|the same folder only"),
        (lambda card: card["files"].update({"README.md": 3}), "files.README.md: Input should be a valid string"),
        (lambda card: card.update(files=[]), "files: Input should be an object"),
        (lambda card: card.update(data=float("nan")), "no finite number"),
        (lambda card: card.update(card_version="4\x1b[31m" * 1000), r"is version '4\\x1b\[31m"),
        (lambda card: card.update(notice="\ud800"), "surrogate"),
    ],
)
def test_a_changed_card_is_one_sentence(folder, part, change, message):
    change_card(folder, part, change)
    with pytest.raises(ModelError, match=message) as caught:
        load_cards(folder)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["[" * 100_000, "\xff", "3", '{"a": ' * 100_000, '{"card_version": 1e999}'])
def test_a_card_that_is_no_card_is_one_sentence(folder, text):
    (folder / "classifier" / "card.json").write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match=r"card\.json"):
        load_cards(folder)
    with pytest.raises(ModelError, match=r"card\.json"):
        read_card(ModelCard, folder / "classifier", versions={None: 3}, holds="model", remedy="Train it.")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("name", ["classifier/card.json", "anomaly/model.onnx", "references/reference_cases.npz"])
def test_a_pipe_in_a_model_folder_is_an_error(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ModelError, match=r"not a regular file|is missing"):
        load_model_set(folder)


def test_weights_in_another_file_are_rejected(tmp_path):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "model").mkdir()
    weights = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "weights")
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4, 4])
    node = onnx.helper.make_node("Identity", ["weights"], ["y"], name="locations")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [output], [weights]), ir_version=8)
    onnx.save(model, tmp_path / "whole.onnx")
    assert Graph(tmp_path / "whole.onnx").session

    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../outside.bin")
    (tmp_path / "outside.bin").write_bytes(bytes(64))
    (tmp_path / "model" / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="keeps weights in other files"):
        Graph(tmp_path / "model" / "model.onnx").session  # noqa: B018
