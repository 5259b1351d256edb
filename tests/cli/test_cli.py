import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from pneumoscope.cli import data, evaluation, inference, research, study, training
from pneumoscope.cli import main as cli
from pneumoscope.inference.table import COLUMNS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that gives exit code, standard output and standard error of `pneumoscope WORDS`."""

    def run_command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["pneumoscope", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run_command


def test_version_shows_the_notice(run: Run) -> None:
    assert "Research use only" in run("--version")[1]


@pytest.mark.parametrize("module", [data, evaluation, inference, research, study, training])
def test_each_help_starts_with_one_line_and_ends_with_an_example_that_parses(run: Run, module: ModuleType) -> None:
    for command in module.COMMANDS.registered_commands:
        summary = command.callback.__doc__.split("\n\n")[0]
        assert summary.endswith(".") and "\n" not in summary
        _, _, *words = shlex.split(command.epilog)
        assert run(*words, "--help")[0] == 0


@pytest.mark.parametrize("group", [cli.app, data.COMMANDS, research.COMMANDS])
def test_groups_have_an_example_that_parses(run: Run, group: typer.Typer) -> None:
    _, _, *words = shlex.split(group.info.epilog)
    assert run(*words, "--help")[0] == 0


def test_help_of_read_explains_every_column(run: Run) -> None:
    words = run("read", "--help")[1].replace(",", " ").split()
    assert set(COLUMNS) <= set(words)


def test_an_invalid_choice_is_named_with_the_valid_ones(run: Run) -> None:
    code, _, err = run("train", "--configuration", "paper")
    assert code == cli.USER_ERROR
    assert "'paper' is not one of" in err and "'improved'" in err
    assert "Value error" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study", "--data", "nowhere", "--out", "OUT"], "nowhere does not exist"),
        (["evaluate", "--study", "nowhere"], "holds no trained model"),
        (["evaluate"], "no data set is given"),
        (["evaluate", "--data", "nowhere"], "nowhere does not exist"),
        (["evaluate", "--study", "nowhere", "--confounders"], "expected no --models"),
        (["neighbors", "--study", "nowhere"], "contains no finished improved study"),
        (["anomaly", "nowhere.png", "--study", "nowhere"], "holds no trained model"),
        (["train", "--backbone", "mobilenet"], "expected --backbone NAME and --weights"),
        (["train", "--weights", "imagenet"], "expected --backbone NAME and --weights"),
        (["train", "--configuration", "transfer"], "expected --backbone NAME and --weights"),
        (["train", "--backbone", "vgg"], "expected one of mobilenet"),
        (["train", "--backbone", "mobilenet", "--weights", "none", "--task", "anomaly"], "expected no --backbone"),
    ],
)
def test_an_error_that_a_user_can_fix_is_one_message(run: Run, tmp_path: Path, words, message) -> None:
    code, out, err = run(*(tmp_path / "out" if word == "OUT" else word for word in words))
    assert (code, out) == (cli.USER_ERROR, "")
    assert message in err and "Traceback" not in err


def test_a_missing_extra_is_named(run: Run, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'keras'", name="keras")

    monkeypatch.setattr("pneumoscope.study.pipeline.run_study", fail)
    code, _, err = run("study")
    assert code == cli.USER_ERROR
    assert "pip install '.[train]'" in err


def test_prepare_and_audit(run: Run, phantom_folder: Path, tmp_path: Path) -> None:
    code, out, _ = run("data", "prepare", phantom_folder, tmp_path / "three")
    assert code == 0
    assert Path(out.strip()) == tmp_path / "three"
    assert run("data", "audit", tmp_path / "three", "--out", tmp_path / "audit")[0] == 0
    assert (tmp_path / "audit/audit.html").exists()


def test_tasks_print_the_metrics_of_a_study(run: Run, finished_study: Path) -> None:
    results = json.loads((finished_study / "results.json").read_text())["tasks"]
    for command, task in {"evaluate": "binary", "anomaly": "anomaly", "neighbors": "neighbors"}.items():
        _, out, _ = run(command, "--study", finished_study, "--json")
        assert json.loads(out)["metrics"]["auroc"] == results[task]["improved"]["metrics"]["auroc"]


def test_tasks_run_on_new_images(run: Run, phantom_folder: Path, finished_study: Path, tmp_path: Path) -> None:
    image = next((phantom_folder / "test/PNEUMONIA").iterdir())
    (tmp_path / "broken.jpeg").write_bytes(b"broken")

    def rows(command: str, *words: object) -> list[dict[str, Any]]:
        return json.loads(run(command, image, *words, "--study", finished_study, "--json")[1])["rows"]

    nearest = rows("neighbors", tmp_path / "broken.jpeg")
    assert sum("neighbor" in row for row in nearest) == 5
    assert sum("error" in row for row in nearest) == 1
    assert set(rows("anomaly")[0]) == {"image", "score", "over mean_plus_sd", "over quantile"}
    assert Path(rows("explain", "--out", tmp_path / "heat")[0]["heatmaps"]).exists()
    (contrast,) = rows("explain", "--contrast")
    other_class = "NORMAL" if contrast["decision"] == "pneumonia" else "PNEUMONIA"
    assert f"/{other_class}/" in f"/{contrast['nearest_of_the_other_class']}"
    assert sum(name.startswith("whiter") for name in contrast) == 4
    assert Path(rows("map", "--out", tmp_path / "map")[-1]["figure"]).exists()


def test_a_study_is_evaluated_on_a_manifest(
    run: Run, phantom_folder: Path, finished_study: Path, tmp_path: Path
) -> None:
    paths = sorted((phantom_folder / "test").glob("*/*"))
    lines = [f"{path},{path.parent.name},{number}" for number, path in enumerate(paths)]
    (tmp_path / "images.csv").write_text("\n".join(["path,label,patient", *lines]))
    assert "balanced_accuracy" in run("evaluate", "--study", finished_study, "--data", tmp_path / "images.csv")[1]


def test_the_included_models_are_evaluated(run: Run, phantom_folder: Path, tmp_path: Path) -> None:
    code, out, err = run("evaluate", "--data", phantom_folder, "--out", tmp_path, "--no-confounders", "--json")

    assert code == 0
    assert "using test" in err
    printed = json.loads(out)
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert printed["scopes"] == written["scopes"]
    assert written["confounders"] is None and written["ood_check"] is None
    assert printed["command"].startswith("pneumoscope evaluate --data")
    assert (tmp_path / "evaluation.html").exists()


def test_a_trained_model_is_a_folder_with_a_card(run: Run, tmp_path: Path) -> None:
    _, out, _ = run("data", "phantoms", tmp_path / "data", "--num-train", 90, "--num-test", 30)
    folder = Path(out.strip())
    assert len(list(folder.glob("*/*/*.jpeg"))) == 120

    words = ["--task", "anomaly", "--configuration", "default", "--epochs", 1]
    code, out, _ = run("train", "--data", folder, "--out", tmp_path / "model", *words)
    assert code == 0
    assert "auroc" in out
    assert (tmp_path / "model/card.json").exists()
