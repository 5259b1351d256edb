import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

keras = pytest.importorskip("keras")

from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.study_folder import load_stage
from pneumoscope.phantoms.phantom import PHANTOM_NOTE
from pneumoscope.study.pipeline import (
    anomaly_settings,
    classifier_settings,
    load_study_dataset,
    reopen_study,
    run_study,
)

TASKS = ("binary", "three_class", "neighbors", "anomaly", "explain")


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
    for name in ("report.html", "log.txt", "audit/audit.html", "models/improved-binary/card.json"):
        assert (finished_study / name).stat().st_size > 0
    assert list((finished_study / "figures").glob("*.svg"))
    assert "Research use only" in (finished_study / "log.txt").read_text()
    assert results["timing"]["total"] > 0
    assert results["data"]["phantoms"]
    assert PHANTOM_NOTE in (finished_study / "report.html").read_text()


@pytest.mark.parametrize("configuration", ["reference", "improved", "default"])
def test_phantoms_have_the_size_that_their_models_expect(configuration: str, tmp_path: Path) -> None:
    side = load_study_dataset(None, tmp_path, seed=0).images.shape[1]
    for choose_settings in (classifier_settings, anomaly_settings):
        assert choose_settings(configuration, epochs=4, phantoms=True).size == side
        assert choose_settings(configuration, epochs=4).size == 128


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
    for stage in ("improved-neighbors_binary", "improved-map_three_class", "improved-anomaly", "improved-explain"):
        (out / "stages" / f"{stage}.npz").unlink()
    run_study(phantom_folder, out, configurations=("improved",), epochs=1, seed=0, resume=True)
    assert read_metrics(out) == read_metrics(finished_study)


@pytest.mark.integration
def test_a_killed_study_resumes_to_the_same_metrics(phantom_folder: Path, finished_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = str(Path(sys.executable).with_name("pneumoscope"))
    options = ["--out", str(out), "--configuration", "improved", "--epochs", "1"]
    command = [program, "study", "--data", str(phantom_folder), *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (out / "models/improved-three_class/checkpoint.npz").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert not (out / "results.json").exists()
    run_study(phantom_folder, out, configurations=("improved",), epochs=1, seed=0, resume=True)
    assert read_metrics(out) == read_metrics(finished_study)


def test_a_study_can_be_reopened_until_its_data_change(
    phantom_folder: Path, finished_study: Path, tmp_path: Path
) -> None:
    request, dataset = reopen_study(finished_study)
    assert request["epochs"] == 1
    assert len(dataset) == 165
    with pytest.raises(PneumoscopeError, match="holds no study"):
        reopen_study(tmp_path)
    changed = tmp_path / "set"
    shutil.copytree(phantom_folder, changed)
    next((changed / "train/NORMAL").iterdir()).unlink()
    with pytest.raises(PneumoscopeError, match="data_sha256"):
        run_study(changed, finished_study, epochs=1, resume=True)


def test_a_collection_without_subtypes_gets_its_other_tasks(
    phantom_folder: Path, finished_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "plain"
    for split in ("train", "test"):
        for kind in ("NORMAL", "PNEUMONIA"):
            (plain / split / kind).mkdir(parents=True)
            for number, path in enumerate(sorted((phantom_folder / split / kind).iterdir())):
                os.link(path, plain / split / kind / f"{split}{number}.jpeg")
    anomaly, explanation = (load_stage(finished_study, "improved", kind) for kind in ("anomaly", "explain"))
    monkeypatch.setattr("pneumoscope.anomaly.autoencoder.train_anomaly", lambda *_, **__: (None, anomaly))
    monkeypatch.setattr("pneumoscope.explain.explanation.explain_classifier", lambda *_, **__: explanation)
    run_study(plain, tmp_path / "out", configurations=("reference",), epochs=1)
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert set(results["tasks"]) == {"binary", "neighbors", "anomaly", "explain"}
