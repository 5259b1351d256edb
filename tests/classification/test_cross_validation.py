"""What is held out: no child on both sides, one series of normals at a time; and what a recipe's parts are worth."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pneumoscope.tasks import crossvalidate

from pneumoscope.classification.cross_validation import assign_folds, cross_validate
from pneumoscope.data.collection import name_series
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError, PneumoscopeError
from pneumoscope.io.archive import save_result
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.classification import evaluate
from pneumoscope.models.settings import configuration_settings
from pneumoscope.research.ablation import BASE, vary_settings
from pneumoscope.research.run import run_ablations

NUM_CHILDREN = 20
SEED_ROWS = ("seed 0", "seed 1", "mean of 2 seeds", "sd over 2 seeds")


@pytest.fixture(scope="module")
def films() -> Dataset:
    """Return films of two series of normals, of bacterial and of viral children, two films a child."""
    kinds = {"IM-{:04d}": "normal", "NORMAL2-IM-9{:03d}": "normal", "person{}_bacteria": "bacterial"}
    kinds["person9{}_virus"] = "viral"
    rows = [
        {"name": f"{pattern.format(child)}-{film}.jpeg", "patient": pattern.format(child), "subtype": kind}
        for pattern, kind in kinds.items()
        for child in range(NUM_CHILDREN)
        for film in (1, 2)
    ]
    table = pd.DataFrame(rows).assign(path="", split="train")
    table["label"] = np.where(table["subtype"] == "normal", "normal", "pneumonia")
    table["sha256"] = table["name"]
    return Dataset(np.zeros((len(table), 16, 16), np.uint8), table, pd.DataFrame(columns=["name", "reason"]))


def pretend_to_fit(seen: list[tuple[Dataset, Dataset]], monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(train: Dataset, validation: Dataset, out_dir: Path, **_: object) -> tuple[SimpleNamespace, None]:
        seen.append((train, validation))
        return SimpleNamespace(model=len(seen)), None

    def predict(model: int, images: np.ndarray) -> np.ndarray:
        return np.full((len(images), 3), 1 / 3, dtype=np.float32)

    monkeypatch.setattr(crossvalidate, "fit_classifier", fit)
    monkeypatch.setattr(crossvalidate, "predict_probabilities", predict)


@pytest.mark.parametrize("protocol", ["patients", "series"])
def test_no_child_stands_on_both_sides(films, tmp_path, monkeypatch, protocol):
    seen: list[tuple[Dataset, Dataset]] = []
    pretend_to_fit(seen, monkeypatch)

    told = cross_validate(films, tmp_path, settings=configuration_settings("default"), protocol=protocol, seed=1)

    assert len(seen) == {"patients": 5, "series": 2}[protocol]
    for train, held_out in seen:
        assert not set(train.table["patient"]) & set(held_out.table["patient"])
        assert set(held_out.table["subtype"]) == set(THREE_CLASSES)
    assert len(told.names) == len(set(told.names)) == sum(len(held_out) for _, held_out in seen)


def test_a_split_by_image_puts_children_on_both_sides(films, tmp_path, monkeypatch):
    seen: list[tuple[Dataset, Dataset]] = []
    pretend_to_fit(seen, monkeypatch)
    cross_validate(films, tmp_path, settings=configuration_settings("default"), protocol="images")
    assert all(set(train.table["patient"]) & set(held_out.table["patient"]) for train, held_out in seen)


def test_one_series_of_normals_is_held_out_at_a_time(films):
    folds = assign_folds(films, "series", seed=0)
    series, normal = name_series(films.table["name"]), films.labels(THREE_CLASSES) == 0
    assert [set(series[normal & (folds == fold)]) for fold in (0, 1)] == [{"IM"}, {"NORMAL2-IM"}]
    assert (folds[~normal] == -1).any()


def test_a_single_series_is_told(films):
    alone = films.select(name_series(films.table["name"]) != "NORMAL2-IM")
    with pytest.raises(CollectionError, match="of the series IM alone"):
        assign_folds(alone, "series", seed=0)


def test_test_images_are_left_out(films, tmp_path, monkeypatch):
    seen: list[tuple[Dataset, Dataset]] = []
    pretend_to_fit(seen, monkeypatch)
    half = films.table["patient"].isin(films.table["patient"].unique()[::2])
    split = Dataset(films.images, films.table.assign(split=np.where(half, "test", "train")), films.skipped)
    told = cross_validate(split, tmp_path, settings=configuration_settings("default"))
    assert not set(told.names) & set(split.split("test").table["name"])


def test_a_variant_changes_what_it_says():
    settings = configuration_settings("default", epochs=3)
    assert vary_settings(settings, BASE) == settings
    assert vary_settings(settings, "hard-targets").label_smoothing == 0
    assert vary_settings(settings, "paper-net").configuration == "improved"
    assert vary_settings(settings, "paper-net").epochs == 3
    with pytest.raises(PneumoscopeError, match="no variant 'magic'; expected one of as-it-is"):
        vary_settings(settings, "magic")


def keep_run(films, folder, variant, seed, skill):
    """Leave what a cross-validation by patients of some skill leaves."""
    labels = films.labels(THREE_CLASSES)
    names, patients = (films.table[column].to_numpy().astype(str) for column in ("name", "patient"))
    shares = np.random.default_rng(seed).dirichlet([1, 1, 1], len(labels)) * (1 - skill)
    shares += skill * np.eye(3)[labels]
    run = evaluate(labels, shares, classes=THREE_CLASSES, split="held out by patients", patients=patients, names=names)
    save_result(run, folder / f"{variant}-seed-{seed}" / "patients.npz")


def test_runs_fill_one_table_and_are_not_done_twice(films, tmp_path, monkeypatch):
    for variant, seed, skill in (
        (BASE, 0, 0.9),
        (BASE, 1, 0.9),
        ("mixup", 0, 0.0),
        ("mixup", 1, 0.1),
        ("framed", 0, 0),
    ):
        keep_run(films, tmp_path, variant, seed, skill)
    monkeypatch.setattr("pneumoscope.research.ablation.cross_validate", None)

    table = run_ablations(films, tmp_path, settings=configuration_settings("default"), variants=["mixup"])
    runs = [f"{variant}, patients, {run}" for variant in (BASE, "mixup") for run in SEED_ROWS]
    assert set(table.metrics) == {*runs, "framed, patients, seed 0"}
    assert table.remarks["mixup, patients, seed 0"].startswith("pairs of images mixed")
    assert "difference" not in table.metrics[f"{BASE}, patients, seed 0"]
    first, second, mean, sd = (table.metrics[f"mixup, patients, {run}"] for run in SEED_ROWS)
    assert first["difference"].high < 0 and first["p_value"].value < 0.05
    for name in ("auroc", "difference"):
        values = [first[name].value, second[name].value]
        assert mean[name].value == pytest.approx(np.mean(values))
        assert sd[name].value == pytest.approx(np.std(values, ddof=1))
    content = json.loads((tmp_path / "ablations.json").read_text())
    assert set(content["methods"]) == set(table.metrics)
    assert "mixup" in (tmp_path / "ablations.csv").read_text()
