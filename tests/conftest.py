"""Shared fixtures: phantoms, folders of phantoms, a finished study, and the real radiographs where they are at hand."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from pneumoscope.data.splits import split_dataset
from pneumoscope.models.registry import register_architecture
from pneumoscope.models.settings import _CONFIGURATIONS
from pneumoscope.phantoms.phantom import phantom_dataset, write_phantoms
from pneumoscope.progress import log

os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items):
    """Start with the files that need a finished study, which take longest."""
    with_study = {item.path for item in items if "finished_study" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in with_study)


@register_architecture("tiny")
def build_tiny(num_outputs=3, size=128, channels=1, *, activation="softmax"):
    """Return a network of the form of the included one, which trains in seconds."""
    import keras
    from keras import layers

    features = inputs = keras.Input((size, size, channels), name="image")
    features = layers.Rescaling(1 / 128, -1.0, name="rescaling")(features)
    for number, filters in enumerate((8, 16), start=1):
        features = layers.Conv2D(filters, 3, 4, "same", activation="relu", name=f"stage_{number}_1")(features)
    features = layers.GlobalAveragePooling2D(dtype="float32", name="embedding")(features)
    outputs = layers.Dense(num_outputs, activation=activation, dtype="float32", name="output")(features)
    return keras.Model(inputs, outputs, name="tiny")


@pytest.fixture
def tiny_default(monkeypatch):
    """Give the configuration `default` the network `tiny`, and the phantoms of a study its image size."""
    tiny = replace(_CONFIGURATIONS["default"], architecture="tiny", weights=None, frozen_until=None, size=128)
    monkeypatch.setitem(_CONFIGURATIONS, "default", tiny)


@pytest.fixture(autouse=True)
def _own_log_handlers():
    """Remove the handlers that a command added to the log: the next test has another standard error."""
    before = list(log.handlers)
    yield
    log.handlers[:] = before


@pytest.fixture(scope="session")
def phantoms():
    """Return 120 phantoms of 128 x 128, split by patient into train, val and test."""
    return split_dataset(phantom_dataset(num_train=90, num_test=30, seed=3), seed=3, val_share=0.25)


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory):
    """Return a small folder of phantoms, laid out as the real set; tests do not change it."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "set", num_train=120, num_test=45, size=128, seed=1)


@pytest.fixture(scope="session")
def finished_study(phantom_folder, tmp_path_factory, worker_id):
    """Return the folder of a finished study of one configuration and one epoch; tests do not change it.

    One test process makes it, and the others wait.
    """
    pytest.importorskip("keras")
    from pneumoscope import run_study, write_report
    from pneumoscope.io.study_folder import load_stage
    from pneumoscope.report.audit_page import write_audit

    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    out = shared / "finished-study"
    with FileLock(shared / "finished-study.lock"):
        if not (out / "report.html").exists():
            dataset = run_study(phantom_folder, out, configurations=("improved",), epochs=1, seed=0)
            write_audit(load_stage(out, "", "audit"), dataset, out / "audit")
            write_report(out, dataset)
    return out


@pytest.fixture(scope="session")
def real_data():
    """Return the folder of the real radiographs, or skip the test."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "chest_xray"
    folder = Path(os.environ.get("PNEUMOSCOPE_DATA", beside))
    if not folder.is_dir():
        pytest.skip("the real radiographs are not at hand (PNEUMOSCOPE_DATA)")
    return folder


@pytest.fixture
def write_image(tmp_path):
    """Return a function that writes one small image with a gray level of its own below `tmp_path`."""

    def write(name, seed=0):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8)).save(path)
        return path

    return write
