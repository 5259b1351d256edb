import json
import shutil

import numpy as np
import pytest

from pneumoscope.tasks.neighbors_benchmark import shrink_images


def test_pixels_are_means_of_cells_less_the_mean_of_the_image():
    images = np.arange(2 * 64 * 64, dtype=np.uint16).reshape(2, 64, 64).astype(np.uint8)

    found = shrink_images(images)

    cells = images[1].reshape(32, 2, 32, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(found[1].reshape(32, 32), cells - cells.mean(), atol=1e-3)


def test_neighbors_are_measured_by_one_command_and_shown_in_the_report(finished_study, tmp_path, monkeypatch, capsys):
    pytest.importorskip("keras")
    from pneumoscope.cli.main import app

    study = tmp_path / "study"
    shutil.copytree(finished_study, study)
    results = json.loads((study / "results.json").read_text())["tasks"]["neighbors"]["best"]

    app(["neighbors", "--benchmark", "--study", str(study), "--json"], standalone_mode=False)

    told = json.loads(capsys.readouterr().out)
    figures = told["methods"]
    assert {"three classes", "two classes", "raw pixels"} <= set(figures)
    assert figures["two classes"]["accuracy"]["value"] == results["metrics"]["accuracy"]["value"]
    assert 0 <= figures["two classes"]["rejected"]["value"] < 0.5
    page = (study / "report.html").read_text()
    assert "Mean average precision" in page and "nothing learned" in page
