import json

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.archive import save_result
from pneumoscope.metrics.classification import evaluate
from pneumoscope.models.settings import configuration_settings
from pneumoscope.research.ablation import BASE, vary_settings
from pneumoscope.research.run import run_ablations

SEED_ROWS = ("seed 0", "seed 1", "mean of 2 seeds", "sd over 2 seeds")


@pytest.fixture
def dataset() -> Dataset:
    """Return 160 images of as many patients, half of them normal."""
    labels = np.repeat(KERMANY_LABELS.classes, [80, 40, 40])
    names = [f"IM-{row:04d}.jpeg" if row < 80 else f"person{row}_{row}.jpeg" for row in range(160)]
    table = pd.DataFrame({"name": names, "patient": names, "sha256": names, "label": labels, "path": ""})
    table = table.assign(split="train", uncertain="")
    return Dataset(np.zeros((160, 16, 16), np.uint8), table, pd.DataFrame(columns=["name", "reason"]), KERMANY_LABELS)


def test_a_variant_changes_its_part_of_the_settings():
    settings = configuration_settings("default", epochs=3)
    assert vary_settings(settings, BASE) == settings
    assert vary_settings(settings, "hard-targets").label_smoothing == 0
    assert vary_settings(settings, "reference-network").configuration == "improved"
    assert vary_settings(settings, "reference-network").epochs == 3
    with pytest.raises(PneumoscopeError, match="no variant 'magic'; expected one of as-it-is"):
        vary_settings(settings, "magic")


def keep_run(dataset, folder, variant, seed, skill):
    """Leave what a cross-validation by patients of some skill leaves."""
    labels, own = dataset.labels(), {"label_set": KERMANY_LABELS, "split": "held out by patients"}
    names, patients = (dataset.table[column].to_numpy().astype(str) for column in ("name", "patient"))
    shares = np.random.default_rng(seed).dirichlet([1, 1, 1], len(labels)) * (1 - skill)
    shares += skill * np.eye(3)[labels]
    run = evaluate(labels, shares, patients=patients, names=names, **own)
    save_result(run, folder / f"{variant}-seed-{seed}" / "patients.npz")


def test_finished_runs_fill_one_table_and_are_not_repeated(dataset, tmp_path, monkeypatch):
    for variant, seed, skill in (
        (BASE, 0, 0.9),
        (BASE, 1, 0.9),
        ("mixup", 0, 0.0),
        ("mixup", 1, 0.1),
        ("framed", 0, 0),
    ):
        keep_run(dataset, tmp_path, variant, seed, skill)
    monkeypatch.setattr("pneumoscope.research.ablation.cross_validate", None)

    table = run_ablations(dataset, tmp_path, settings=configuration_settings("default"), variants=["mixup"])
    runs = [f"{variant}, patients, {run}" for variant in (BASE, "mixup") for run in SEED_ROWS]
    assert set(table.metrics) == {*runs, "framed, patients, seed 0"}
    assert table.remarks["mixup, patients, seed 0"].startswith("mixup")
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
