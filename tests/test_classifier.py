"""The short Python interface: from a folder to a reader."""

import json

import pytest

import pneumoscope as ps
from pneumoscope.classifier import DATA_NAME, load_training_data
from pneumoscope.io.json_file import write_json
from pneumoscope.phantoms.phantom import phantom_dataset

pytest.importorskip("keras")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ps.write_phantoms(tmp_path_factory.mktemp("data") / "folder", num_train=90, num_test=30, size=64, seed=0)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    dataset = ps.split_dataset(ps.load_dataset(folder), by="patient")
    run = tmp_path_factory.mktemp("runs") / "a"
    return dataset, ps.train(dataset, run, architecture="tiny", size=64, epochs=1, batch_size=32)


def test_a_folder_becomes_a_reader_in_nine_lines(trained, tmp_path):
    dataset, model = trained
    paths = dataset.test.table["path"].tolist()[:3]

    assert model.size == 64 and dataset.images.shape[1] == 128
    assert set(model.predict(paths[0]).probabilities) == {"normal", "bacterial", "viral", "pneumonia"}
    assert len(model.embed(paths)) == 3
    assert model.explain(paths[0], method="gradcam").plot().axes
    assert 0 <= ps.evaluate(model, dataset.test).main_metrics()["auroc"].value <= 1
    reader = ps.Reader.open(model.export(tmp_path / "reader"))
    assert [reading.path for reading in reader.predict(paths)] == paths
    assert reader.models.cards.classifier.calibration.method != "none"


def test_an_export_finds_the_training_data_until_they_change(trained, folder, caplog):
    dataset, model = trained
    assert load_training_data(model, None, ps.LabelOptions()) is None
    assert "--data" in caplog.text
    write_json(model.path / DATA_NAME, {"source": folder, "labels": ps.LabelOptions()})
    found = load_training_data(model, None, ps.LabelOptions())
    assert found is not None
    assert found.table.equals(dataset.table)
    next(folder.glob("train/NORMAL/*")).unlink()
    assert load_training_data(model, None, ps.LabelOptions()) is None
    assert "changed after the training" in caplog.text
    assert json.loads((model.path / DATA_NAME).read_text())["source"] == str(folder)


def test_images_that_are_no_files_keep_their_size(tmp_path):
    phantoms = phantom_dataset(num_train=90, num_test=30, size=64, seed=0)
    with pytest.raises(ps.PneumoscopeError, match="expected size 96"):
        ps.train(phantoms, tmp_path, size=96)
