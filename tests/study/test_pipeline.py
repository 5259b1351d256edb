import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.data.label_options import LabelOptions
from pneumoscope.errors import LabelError, PneumoscopeError
from pneumoscope.inference.reader import Reader
from pneumoscope.io.study_folder import find_finest_model, load_stage
from pneumoscope.phantoms.phantom import PHANTOM_NOTE, write_phantoms
from pneumoscope.study.pipeline import (
    anomaly_settings,
    classifier_settings,
    load_study_dataset,
    reopen_study,
    run_study,
)

TASKS = ("binary", "multiclass", "neighbors", "anomaly", "explain")


def read_metrics(out: Path) -> dict:
    """Return what must be equal however often a study was stopped: everything but times."""
    results = json.loads((out / "results.json").read_text())
    for configurations in results["tasks"].values():
        for entry in configurations.values():
            entry.pop("training_seconds", None)
    return {key: results[key] for key in ("tasks", "data", "settings")}


def test_a_study_writes_results_models_and_pages(finished_study: Path) -> None:
    results = json.loads((finished_study / "results.json").read_text())
    for task in TASKS:
        entry = results["tasks"][task]["improved"]
        assert entry["parameters"] > 0
        assert all(set(metric) == {"value", "low", "high", "n"} for metric in entry["metrics"].values())
    for name in (
        "report.html",
        "log.txt",
        "audit/audit.html",
        "models/improved-binary/card.json",
        "reader/classifier/card.json",
    ):
        assert (finished_study / name).stat().st_size > 0
    assert list((finished_study / "figures").glob("*.svg"))
    assert "Research use only" in (finished_study / "log.txt").read_text()
    assert results["timing"]["total"] > 0
    assert results["data"]["phantoms"]
    assert results["left_out"] == {}
    assert find_finest_model(finished_study).name == "improved-multiclass"
    assert PHANTOM_NOTE in (finished_study / "report.html").read_text()


@pytest.mark.parametrize("configuration", ["reference", "improved", "default"])
def test_phantoms_have_the_size_that_their_models_expect(configuration: str, tmp_path: Path) -> None:
    side = load_study_dataset(None, tmp_path, seed=0).images.shape[1]
    assert classifier_settings(configuration, epochs=4, phantoms=True).size == side
    assert classifier_settings(configuration, epochs=4).size >= 128
    if configuration == "default":
        assert anomaly_settings(configuration) is None  # not trained: it takes the images of the classifier
    else:
        assert (settings := anomaly_settings(configuration, phantoms=True)) and settings.size == side


def test_a_finished_study_is_not_overwritten(phantom_folder: Path, finished_study: Path) -> None:
    with pytest.raises(PneumoscopeError, match="contains a study already"):
        run_study(phantom_folder, finished_study, epochs=1)
    with pytest.raises(PneumoscopeError, match="study with other settings: epochs was 1 and is 2 now"):
        run_study(phantom_folder, finished_study, epochs=2, resume=True)


def test_resuming_a_finished_study_computes_nothing(
    phantom_folder: Path, finished_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_metrics(finished_study)
    monkeypatch.setattr(
        "pneumoscope.classification.classifier.train_classifier", lambda *_, **__: pytest.fail("trained again")
    )
    run_study(phantom_folder, finished_study, configurations=("improved",), epochs=1, seed=0, resume=True)
    assert read_metrics(finished_study) == before


def test_lost_stages_are_computed_again(phantom_folder: Path, finished_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished_study, out)
    for stage in ("improved-neighbors_binary", "improved-map_multiclass", "improved-anomaly", "improved-explain"):
        (out / "stages" / f"{stage}.npz").unlink()
    run_study(phantom_folder, out, configurations=("improved",), epochs=1, seed=0, resume=True)
    assert read_metrics(out) == read_metrics(finished_study)


@pytest.mark.integration
def test_a_killed_study_resumes_to_the_same_metrics(phantom_folder: Path, finished_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = str(Path(sys.executable).with_name("pneumoscope"))
    options = ["--out", str(out), "--configuration", "improved", "--epochs", "1"]
    command = [program, "study", str(phantom_folder), *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (out / "models/improved-multiclass/checkpoint.npz").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert not (out / "results.json").exists()
    run_study(phantom_folder, out, configurations=("improved",), epochs=1, seed=0, resume=True)
    assert read_metrics(out) == read_metrics(finished_study)


def test_a_study_can_be_reopened_until_its_data_change(
    phantom_folder: Path, finished_study: Path, tmp_path: Path
) -> None:
    request, dataset = reopen_study(finished_study, "improved")
    assert request["epochs"] == 1
    assert len(dataset) == 165
    with pytest.raises(PneumoscopeError, match="holds no study"):
        reopen_study(tmp_path)
    changed = tmp_path / "set"
    shutil.copytree(phantom_folder, changed)
    next((changed / "train/NORMAL").iterdir()).unlink()
    with pytest.raises(PneumoscopeError, match="data_sha256"):
        run_study(changed, finished_study, epochs=1, resume=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tiny_default: None) -> None:
    """Train small networks."""
    monkeypatch.setattr("pneumoscope.study.stages.OTHER_SEEDS", ())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("kind", "options", "tasks", "left_out"),
    [
        ("five-class", {}, {"binary", "multiclass", "neighbors", "anomaly", "explain"}, {"held_out"}),
        (
            "multi-label",
            {"classes": ("Nodule", "Effusion")},
            {"multilabel", "neighbors", "anomaly", "explain"},
            {"held_out"},
        ),
    ],
)
def test_any_classes_get_the_tasks_that_they_allow(
    kind: str, options: dict, tasks: set[str], left_out: set[str], tmp_path: Path
) -> None:
    folder = write_phantoms(tmp_path / "set", num_train=110, num_test=30, size=96, seed=2, label_set=kind)
    source, out = folder, tmp_path / "out"
    if kind == "multi-label":
        source = folder / "manifest.csv"
        table = pd.read_csv(source)
        table.fillna({"label": "No Finding"}).to_csv(source, index=False)
    dataset = run_study(source, out, options=LabelOptions(**options), configurations=("default",), epochs=1)
    results = json.loads((out / "results.json").read_text())
    assert set(results["tasks"]) == tasks
    assert set(results["left_out"]) == left_out
    assert "new" not in load_stage(out, "default", f"map_{dataset.label_set.task}").origins, (
        "phantoms show other classes"
    )
    reader = Reader.open(out / "reader")
    assert reader.label_set == dataset.label_set == reopen_study(out)[1].label_set
    assert len(reader.predict_images(dataset.images[:2], ["a", "b"])) == 2


def test_classes_without_training_images_are_left_out(phantom_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name, number in (("normal", 12), ("pneumonia", 12), ("rare", 1)):
        (folder / name).mkdir(parents=True)
        for path in sorted(phantom_folder.rglob("*.jpeg"))[:number]:
            os.link(path, folder / name / f"{name}-{path.name}")
    with pytest.raises((LabelError, PneumoscopeError), match="rare"):
        run_study(folder, tmp_path / "out", configurations=("default",), epochs=1)
