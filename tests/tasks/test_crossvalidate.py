"""What is held out: no child on both sides, one series of normals at a time; and what a recipe's parts are worth."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pneumoscope.archive import save_result
from pneumoscope.assessment import PairedComparison
from pneumoscope.errors import CollectionError, PneumoscopeError
from pneumoscope.evaluation.metrics import evaluate
from pneumoscope.models.settings import profile_settings
from pneumoscope.radiographs.collection import name_series
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.report.ablation_table import write_ablation_table
from pneumoscope.results import THREE_CLASSES, Estimate
from pneumoscope.tasks import crossvalidate
from pneumoscope.tasks.ablate import BASE, Ablation, list_ablations, run_ablation, spread_seeds, vary_recipe
from pneumoscope.tasks.crossvalidate import PROTOCOLS, assign_folds, cross_validate

NUM_CHILDREN = 20


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

    told = cross_validate(films, tmp_path, settings=profile_settings("flagship"), protocol=protocol, seed=1)

    assert len(seen) == {"patients": 5, "series": 2}[protocol]
    for train, held_out in seen:
        assert not set(train.table["patient"]) & set(held_out.table["patient"])
        assert set(held_out.table["subtype"]) == set(THREE_CLASSES)
    assert len(told.names) == len(set(told.names)) == sum(len(held_out) for _, held_out in seen)


def test_a_split_by_image_puts_children_on_both_sides(films, tmp_path, monkeypatch):
    seen: list[tuple[Dataset, Dataset]] = []
    pretend_to_fit(seen, monkeypatch)
    cross_validate(films, tmp_path, settings=profile_settings("flagship"), protocol="images")
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
    told = cross_validate(split, tmp_path, settings=profile_settings("flagship"))
    assert not set(told.names) & set(split.split("test").table["name"])


def test_a_variant_changes_what_it_says():
    settings = profile_settings("flagship", epochs=3)
    assert vary_recipe(settings, BASE) == settings
    assert vary_recipe(settings, "hard-targets").label_smoothing == 0
    assert vary_recipe(settings, "paper-net").profile == "best"
    assert vary_recipe(settings, "paper-net").epochs == 3
    with pytest.raises(PneumoscopeError, match="no variant 'magic'; expected one of as-it-is"):
        vary_recipe(settings, "magic")


def test_runs_fill_one_table_and_are_not_done_twice(films, tmp_path, monkeypatch):
    labels, names = films.labels(THREE_CLASSES), films.table["name"].to_numpy().astype(str)
    patients = films.table["patient"].to_numpy().astype(str)
    rng = np.random.default_rng(0)
    for variant, skill in ((BASE, 0.9), ("mixup", 0.0)):
        shares = rng.dirichlet([1, 1, 1], len(labels)) * (1 - skill) + skill * np.eye(3)[labels]
        told = evaluate(
            labels, shares, classes=THREE_CLASSES, split="held out by patients", patients=patients, names=names
        )
        for protocol in PROTOCOLS[:1]:
            (tmp_path / f"{variant}-seed-0").mkdir()
            save_result(told, tmp_path / f"{variant}-seed-0" / f"{protocol}.npz")
    monkeypatch.setattr("pneumoscope.tasks.ablate.cross_validate", None)

    again = run_ablation(films, tmp_path, settings=profile_settings("flagship"), variant="mixup")
    found = list_ablations(tmp_path)
    write_ablation_table(found, tmp_path / "table.md", recipe="flagship", epochs=3, command="pneumoscope ...")

    assert again.split == "held out by patients"
    assert [entry.variant for entry in found] == [BASE, "mixup"]
    assert found[0].against_base is None
    assert found[1].against_base is not None
    assert found[1].against_base.difference.high < 0
    table = (tmp_path / "table.md").read_text()
    assert "Research use only" in table
    assert table.count("| pairs of images mixed") == 1
    assert "over the seeds" not in table


def make_run(variant: str, seed: int, auroc: float, difference: float | None) -> Ablation:
    names = ("auroc", "specificity", "balanced_accuracy", "auroc_bacterial_vs_viral")
    against = None
    if difference is not None:
        against = PairedComparison("DeLong", Estimate(difference, difference - 0.01, difference + 0.01, 90), 0.5)
    return Ablation(variant, "series", seed, 90, {name: Estimate(auroc, 0, 1, 90) for name in names}, against)


def test_seeds_are_told_by_mean_and_spread(tmp_path):
    runs = [make_run(BASE, 0, 0.9, None), make_run(BASE, 1, 0.8, None)]
    runs += [make_run("mixup", 0, 0.7, -0.2), make_run("mixup", 1, 0.9, 0.1), make_run("framed", 0, 0.5, -0.4)]

    spreads = {spread.variant: spread for spread in spread_seeds(runs)}
    write_ablation_table(runs, tmp_path / "table.md", recipe="flagship", epochs=3, command="pneumoscope ...")

    assert set(spreads) == {BASE, "mixup"}
    assert spreads["mixup"].seeds == (0, 1)
    assert spreads["mixup"].figures["auroc"] == pytest.approx((0.8, 0.02**0.5))
    assert spreads["mixup"].figures["difference"] == pytest.approx((-0.05, 0.045**0.5))
    assert "difference" not in spreads[BASE].figures
    assert "| 0, 1 | 0.8000 (0.1414) | -0.0500 (0.2121) |" in (tmp_path / "table.md").read_text()
