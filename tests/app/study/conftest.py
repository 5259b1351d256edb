"""A study on drawn films with made-up nets: everything that a real one leaves but the trained weights."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from pneumoscope.evaluation.metrics import evaluate, evaluate_scores
from pneumoscope.ledger import Ledger
from pneumoscope.radiographs.audit import audit_dataset
from pneumoscope.radiographs.dataset import Dataset, load_dataset
from pneumoscope.radiographs.splits import split_dataset
from pneumoscope.results import BINARY_CLASSES, THREE_CLASSES, AnomalyResult, Classification, LearningCurve

WIDE = {"width": 1440, "height": 900}
SEED = 4
REPORT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Report</title>
<style>h1 { color: rgb(1, 2, 3) }</style>
<main><h1>Report</h1>
<img alt="dot" src="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='4'/%3E"></main>
<script>document.title = "ran"</script></html>
"""
SKILLS = {"paper": 1.0, "best": 2.0}


def make_curve(rng, epochs=12, accuracy=True):
    loss = 0.1 + 0.6 * np.exp(-np.arange(epochs) / 4)
    val_loss = loss + 0.05 * rng.random(epochs)
    missing = np.full(epochs, np.nan)
    return LearningCurve(
        loss, 1 - loss / 2 if accuracy else missing, val_loss, 1 - val_loss / 2 if accuracy else missing, 9, 312.0
    )


def make_classification(dataset, classes, skill, rng):
    evaluations = {}
    for split in ("val", "test"):
        part = dataset.split(split)
        labels = part.labels(classes)
        logits = rng.normal(size=(len(part), len(classes))) + skill * np.eye(len(classes))[labels]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        evaluations[split] = evaluate(
            labels,
            probabilities,
            classes=classes,
            split=split,
            patients=part.table["patient"],
            names=part.table["name"],
            seed=SEED,
        )
    return Classification(classes, 3_404_674, make_curve(rng), evaluations)


def make_anomaly(dataset, rng):
    test, held_out = dataset.split("test"), int((dataset.split("val").labels(BINARY_CLASSES) == 0).sum())
    labels = test.labels(BINARY_CLASSES)
    errors = (0.002 + 0.001 * labels + rng.gamma(3, 0.0004, len(test))).astype(np.float32)
    validation = (0.002 + rng.gamma(3, 0.0004, held_out)).astype(np.float32)
    thresholds = {
        "mean_plus_sd": float(validation.mean() + validation.std()),
        "quantile": float(np.quantile(validation, 0.95)),
    }
    none = np.zeros((0, 8, 8), np.float32)
    return AnomalyResult(
        parameters=52_067,
        curve=make_curve(rng, accuracy=False),
        thresholds=thresholds,
        false_positive_rate=0.05,
        validation_scores=validation,
        scores=errors,
        labels=labels,
        subtypes=test.table["subtype"].to_numpy().astype(str),
        metrics=evaluate_scores(labels, errors, thresholds, patients=test.table["patient"], seed=SEED),
        images=none,
        reconstructions=none,
        anomaly_maps=none,
        examples=np.zeros(0, np.int64),
    )


def leave_study(out: Path, source: Path | None, dataset: Dataset, stages: dict) -> Path:
    """Leave a folder as a study does, its ledger written by the study's own means."""
    ledger = Ledger.open(out, resume=True)
    ledger.claim({"source": source and str(source), "data_sha256": "0" * 64, "epochs": 12, "seed": SEED})
    for name, result in stages.items():
        ledger.run(name, lambda result=result: result)
    return out


def make_stages(dataset: Dataset, collected: Dataset) -> dict:
    rng = np.random.default_rng(SEED)
    stages: dict = {"audit": audit_dataset(collected)}
    # As a study does, 1.B leaves out the images whose kind of pneumonia nobody tells.
    told = dataset.select(dataset.labels(THREE_CLASSES) >= 0)
    for profile, skill in SKILLS.items():
        stages[f"{profile}-binary"] = make_classification(dataset, BINARY_CLASSES, skill, rng)
        stages[f"{profile}-three_class"] = make_classification(told, THREE_CLASSES, skill, rng)
        stages[f"{profile}-anomaly"] = make_anomaly(dataset, rng)
    return stages


@pytest.fixture(scope="session")
def source(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection of drawn films; one pneumonia of test does not tell its kind."""
    root = tmp_path_factory.mktemp("collection") / "films"
    shutil.copytree(phantom_folder, root, ignore=shutil.ignore_patterns("masks"))
    sick = sorted((root / "test" / "PNEUMONIA").iterdir())[0]
    sick.rename(sick.with_name("film-of-unknown-kind.jpeg"))
    return root


@pytest.fixture(scope="session")
def study_parts(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, dict, Path]:
    """Return the split data set of a study, its stages by name, and its folder, which tests leave as it is."""
    out = tmp_path_factory.mktemp("studies") / "finished"
    collected = load_dataset(source, cache_dir=out / "cache")
    dataset = split_dataset(collected, seed=SEED, val_share=0.3)
    stages = make_stages(dataset, collected)
    leave_study(out, source, dataset, stages)
    (out / "report.html").write_text(REPORT, encoding="utf-8")
    return dataset, stages, out


@pytest.fixture(scope="session")
def study_folder(study_parts: tuple[Dataset, dict, Path]) -> Path:
    """Return the folder of a finished study."""
    return study_parts[2]


@pytest.fixture
def study_copy(study_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the study's folder, to be spoilt."""
    return Path(shutil.copytree(study_folder, tmp_path / "copy"))


@pytest.fixture(scope="session")
def study_room(open_room: Callable, study_folder: Path) -> Iterator[str]:
    """Return the address of a room that shows the finished study."""
    with open_room(study_dir=study_folder) as address:
        yield address


@pytest.fixture
def ask(open_room: Callable) -> Callable:
    """Return a function that opens a room on a study's folder and asks it for addresses, one after the other."""

    def asked(folder: Path, *addresses: str) -> list[httpx.Response]:
        with open_room(study_dir=folder) as room, httpx.Client(base_url=room, timeout=120) as client:
            return [client.get(address) for address in addresses]

    return asked


@pytest.fixture(scope="session")
def leave() -> Callable:
    """Return `leave_study`."""
    return leave_study


@pytest.fixture(scope="session")
def move_source() -> Callable:
    """Return a function that writes into a study's ledger where its images stand."""

    def move(folder: Path, source: Path) -> None:
        ledger = json.loads((folder / "study.json").read_text())
        ledger["request"]["source"] = str(source)
        (folder / "study.json").write_text(json.dumps(ledger))

    return move


@pytest.fixture
def show(chromium) -> Iterator[Callable]:
    """Return a function that opens a page; the test fails if the page complains or asks another machine."""
    contexts, complaints = [], []

    def shown(address, *, viewport=WIDE, color_scheme="light"):
        context = chromium.new_context(viewport=viewport, color_scheme=color_scheme, reduced_motion="reduce")
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        origin = re.match(r"http://[^/]+", address)[0]
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith((origin, "data:")) or complaints.append(asked.url))
        page.goto(address)
        page.locator("#loading[hidden]").wait_for(state="attached")
        if page.locator("#study").is_visible():
            page.locator("#threshold-live:not(:empty)").wait_for(state="attached")
        return page

    yield shown
    for context in contexts:
        context.close()
    assert complaints == []
