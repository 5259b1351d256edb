import json
from pathlib import Path

import pytest

from pneumoscope.cli import main as cli


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of `pneumoscope WORDS`."""
    monkeypatch.setattr("sys.argv", ["pneumoscope", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


def test_version_says_what_it_is_not(monkeypatch, capsys) -> None:
    code, out, _ = call(monkeypatch, capsys, "--version")
    assert code == 0
    assert "Research use only" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study", "--data", "nowhere", "--out", "OUT"], "nowhere does not exist"),
        (["data", "audit", "nowhere"], "nowhere does not exist"),
        (["evaluate", "--study", "nowhere"], "holds no trained model"),
        (["evaluate"], "nothing to evaluate on"),
        (["evaluate", "--data", "nowhere"], "nowhere does not exist"),
        (["evaluate", "--study", "nowhere", "--split", "test"], "expected no --models"),
        (["evaluate", "--study", "nowhere", "--shortcuts"], "expected no --models"),
        (["neighbors", "--study", "nowhere"], "holds no finished study"),
        (["anomaly", "nowhere.png", "--study", "nowhere"], "holds no trained model"),
        (["train", "--backbone", "mobilenet"], "expected --backbone NAME and --weights"),
        (["train", "--weights", "imagenet"], "expected --backbone NAME and --weights"),
        (["train", "--configuration", "transfer"], "expected --backbone NAME and --weights"),
        (
            ["train", "--backbone", "mobilenet", "--weights", "none", "--task", "anomaly"],
            "expected it without --backbone",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_message(monkeypatch, capsys, tmp_path: Path, words, message) -> None:
    words = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    code, out, err = call(monkeypatch, capsys, *words)
    assert code == cli.USER_ERROR
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_a_missing_extra_is_told(monkeypatch, capsys) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'keras'", name="keras")

    monkeypatch.setattr("pneumoscope.study.pipeline.run_study", fail)
    code, _, err = call(monkeypatch, capsys, "study")
    assert code == cli.USER_ERROR
    assert "pip install 'pneumoscope[train]'" in err


def test_prepare_audit_and_phantoms(monkeypatch, capsys, phantom_folder: Path, tmp_path: Path) -> None:
    code, out, _ = call(monkeypatch, capsys, "data", "prepare", phantom_folder, tmp_path / "three")
    assert code == 0
    assert Path(out.strip()) == tmp_path / "three"
    code, out, _ = call(monkeypatch, capsys, "data", "audit", tmp_path / "three", "--out", tmp_path / "audit")
    assert code == 0
    assert (tmp_path / "audit/audit.html").exists()
    code, out, _ = call(monkeypatch, capsys, "data", "phantoms", tmp_path / "p", "--num-train", 30, "--num-test", 30)
    assert len(list(Path(out.strip()).glob("*/*/*.jpeg"))) == 60


def test_each_task_alone_on_a_study(
    monkeypatch, capsys, phantom_folder: Path, finished_study: Path, tmp_path: Path
) -> None:
    film = next((phantom_folder / "test/PNEUMONIA").iterdir())
    (tmp_path / "broken.jpeg").write_bytes(b"broken")
    study = ["--study", finished_study, "--json"]
    results = json.loads((finished_study / "results.json").read_text())["tasks"]

    _, out, _ = call(monkeypatch, capsys, "evaluate", *study)
    assert json.loads(out)["metrics"]["accuracy"] == results["binary"]["improved"]["metrics"]["accuracy"]
    _, out, _ = call(monkeypatch, capsys, "anomaly", *study)
    assert json.loads(out)["metrics"]["auroc"] == results["anomaly"]["improved"]["metrics"]["auroc"]
    _, out, _ = call(monkeypatch, capsys, "neighbors", *study)
    assert json.loads(out)["metrics"]["accuracy"] == results["neighbors"]["improved"]["metrics"]["accuracy"]

    _, out, _ = call(monkeypatch, capsys, "neighbors", film, tmp_path / "broken.jpeg", *study)
    rows = json.loads(out)["rows"]
    assert sum("neighbor" in row for row in rows) == 5
    assert sum("error" in row for row in rows) == 1
    _, out, _ = call(monkeypatch, capsys, "anomaly", film, *study)
    assert set(json.loads(out)["rows"][0]) == {"image", "score", "over mean_plus_sd", "over quantile"}
    _, out, _ = call(monkeypatch, capsys, "explain", film, "--out", tmp_path / "heat", *study)
    assert Path(json.loads(out)["rows"][0]["heatmaps"]).exists()
    _, out, _ = call(monkeypatch, capsys, "explain", film, "--contrast", *study)
    (row,) = json.loads(out)["rows"]
    named = "NORMAL" if row["decision"] == "pneumonia" else "PNEUMONIA"
    assert f"/{named}/" in f"/{row['nearest_of_the_other_class']}"
    assert sum(name.startswith("whiter") for name in row) == 4
    _, out, _ = call(monkeypatch, capsys, "map", film, "--out", tmp_path / "map", *study)
    assert Path(json.loads(out)["rows"][-1]["picture"]).exists()


def test_other_hospitals_are_evaluated_by_a_manifest(
    monkeypatch, capsys, phantom_folder: Path, finished_study: Path, tmp_path: Path
) -> None:
    films = [
        (path, kind) for kind in ("NORMAL", "PNEUMONIA") for path in sorted((phantom_folder / "test" / kind).iterdir())
    ]
    lines = ["path,label,patient", *(f"{path},{kind},{number}" for number, (path, kind) in enumerate(films))]
    (tmp_path / "films.csv").write_text("\n".join(lines))
    code, out, _ = call(monkeypatch, capsys, "evaluate", "--study", finished_study, "--data", tmp_path / "films.csv")
    assert code == 0
    assert "balanced_accuracy" in out


def test_the_models_that_ship_are_evaluated(monkeypatch, capsys, phantom_folder: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--data", phantom_folder, "--out", tmp_path / "out", "--no-shortcuts", "--json"]
    code, out, err = call(monkeypatch, capsys, *words)

    assert code == 0
    assert "taking test" in err
    told = json.loads(out)
    kept = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert told["scopes"] == kept["scopes"]
    assert kept["confounders"] is None and kept["ood_check"] is None
    assert told["command"].startswith("pneumoscope evaluate --data")
    assert (tmp_path / "out" / "evaluation.html").exists()


def test_train_alone_leaves_a_bundle(monkeypatch, capsys, phantom_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    words = ["train", "--data", phantom_folder, "--out", tmp_path, "--task", "anomaly", "--epochs", 24]
    code, out, _ = call(monkeypatch, capsys, *words)
    assert code == 0
    assert "auroc" in out
    assert (tmp_path / "card.json").exists()
