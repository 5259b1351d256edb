import json
import shlex
import shutil
from pathlib import Path

import pytest

from pneumoscope.cli import data, evaluation, inference, pacs, read, research, training
from pneumoscope.cli import main as cli
from pneumoscope.inference.decision import describe_flag
from pneumoscope.inference.model_set import SHIPPED_DIR, load_cards
from pneumoscope.inference.table import FIRST_COLUMNS, LAST_COLUMNS
from pneumoscope.phantoms.phantom import write_phantoms


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that gives exit code, standard output and standard error of `pneumoscope WORDS`."""

    def run_command(*words):
        monkeypatch.setattr("sys.argv", ["pneumoscope", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run_command


def test_version_shows_the_notice(run):
    assert "Research use only" in run("--version")[1]


@pytest.mark.parametrize("module", [data, evaluation, inference, pacs, read, research, training])
def test_each_help_starts_with_one_line_and_ends_with_an_example_that_parses(run, module):
    for command in module.COMMANDS.registered_commands:
        summary = command.callback.__doc__.split("\n\n")[0]
        assert summary.endswith(".") and "\n" not in summary
        _, _, *words = shlex.split(command.epilog)
        assert run(*words, "--help")[0] == 0


@pytest.mark.parametrize("group", [cli.app, data.COMMANDS, research.COMMANDS])
def test_groups_have_an_example_that_parses(run, group):
    _, _, *words = shlex.split(group.info.epilog)
    assert run(*words, "--help")[0] == 0


def test_audit_of_an_image_with_two_labels_is_an_error(run, write_image, tmp_path):
    for name, seed in (("a/1", 1), ("b/2", 2), ("b/3", 1)):
        write_image(f"set/{name}.png", seed)
    code, _, err = run("data", "audit", tmp_path / "set", "--out", tmp_path / "audit")
    assert code == cli.USER_ERROR and "different labels: 1, such as a/1.png (a), b/3.png (b)" in err
    assert (tmp_path / "audit/audit.html").exists()


def test_help_of_read_explains_every_column(run):
    words = run("read", "--help")[1].replace(",", " ").split()
    assert {*FIRST_COLUMNS, *LAST_COLUMNS, "p_<class>"} <= set(words)


def test_help_of_read_quotes_the_false_positive_rate_of_the_card(run):
    note = describe_flag(load_cards(SHIPPED_DIR).anomaly).replace(",", " ").split()
    words = run("read", "--help")[1].replace(",", " ").split()
    assert "measured" in note and " ".join(note) in " ".join(words)


def test_an_invalid_choice_is_named_with_the_valid_ones(run):
    code, _, err = run("train", "folder", "--configuration", "paper")
    assert code == cli.USER_ERROR
    assert "'paper' is not one of" in err and "'improved'" in err
    assert "Value error" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study", "nowhere", "--out", "OUT"], "nowhere does not exist"),
        (["evaluate", "nowhere"], "nowhere does not exist"),
        (["evaluate", "nowhere", "--model", "missing"], "missing"),
        (["evaluate", "nowhere", "--predictions", "p.csv", "--correct-label-shift"], "expected no --model"),
        (["train", "nowhere", "--out", "OUT"], "nowhere does not exist"),
        (["train", "nowhere", "--map", "viral"], "no name on both sides"),
        (["train", "nowhere", "--settings", "nowhere.toml"], "expected a TOML file"),
        (["explain", "a.png"], "expected --model RUN"),
        (["read", "a.png", "--model", "MODEL.keras"], "pneumoscope export"),
    ],
)
def test_an_error_that_a_user_can_fix_is_one_message(run, tmp_path, words, message):
    (tmp_path / "model.keras").touch()
    paths = {"OUT": tmp_path / "out", "MODEL.keras": tmp_path / "model.keras"}
    code, out, err = run(*(paths.get(word, word) for word in words))
    assert (code, out) == (cli.USER_ERROR, "")
    assert message in err and "Traceback" not in err


def test_control_characters_of_names_are_escaped(run, tmp_path):
    code, out, err = run("evaluate", tmp_path / "a\x1b[31m\u202eb", "--out", tmp_path / "out")
    assert (code, out) == (cli.USER_ERROR, "")
    assert "a\\x1b[31m\\u202eb" in err and "\x1b" not in err


@pytest.mark.parametrize("damage", [lambda card: card.update(files={}), lambda card: card.update(label_set=3)])
def test_a_damaged_card_is_one_message(run, tmp_path, damage):
    shutil.copytree(SHIPPED_DIR, tmp_path / "reader")
    path = tmp_path / "reader" / "classifier" / "card.json"
    card = json.loads(path.read_text())
    damage(card)
    path.write_text(json.dumps(card))
    code, out, err = run("read", "a.png", "--model", tmp_path / "reader")
    assert (code, out) == (cli.USER_ERROR, "")
    assert "card.json" in err and len(err.splitlines()) == 1


def test_a_missing_extra_is_named(run, monkeypatch):
    def fail(*_, **__):
        raise ModuleNotFoundError("No module named 'keras'", name="keras")

    monkeypatch.setattr("pneumoscope.study.pipeline.run_study", fail)
    code, _, err = run("study")
    assert code == cli.USER_ERROR
    assert "pip install '.[train]'" in err


def test_the_included_models_are_evaluated(run, phantom_folder, tmp_path):
    code, out, err = run("evaluate", phantom_folder, "--out", tmp_path, "--no-confounders", "--json")

    assert code == 0
    assert "using test" in err
    printed = json.loads(out)
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert printed["scopes"] == written["scopes"]
    assert written["confounders"] is None and written["ood_check"] is None
    assert printed["command"].startswith("pneumoscope evaluate")
    assert (tmp_path / "evaluation.html").exists()


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Phantoms with four findings, and settings of a short training."""
    folder = tmp_path_factory.mktemp("findings")
    write_phantoms(folder / "data", num_train=90, num_test=30, size=224, label_set="multi-label", seed=0)
    (folder / "short.toml").write_text('epochs = 2\nsize = 224\nbatch-size = 16\narchitecture = "efficientnet-lite0"\n')
    return folder


@pytest.mark.integration
def test_several_devices_need_jax(run, tmp_path):
    code, _, error = run("train", tmp_path, "--devices", "2", "--out", tmp_path / "run")
    assert code == 2 and "the backend of Keras is tensorflow" in error and "KERAS_BACKEND=jax" in error


def test_findings_from_training_to_reading(run, findings):
    """The whole grammar on a multi-label table: train, continue, evaluate, explain, export, read."""
    data, made, reader = findings / "data/manifest.csv", findings / "run", findings / "reader"
    words = ["train", data, "--out", made, "--settings", findings / "short.toml"]
    code, out, err = run(*words, "--epochs", 1)
    assert code == 0, err
    assert "auroc" in out
    assert run(*words[:-1], made / "settings.toml")[0] == 0
    code, _, err = run(*words)
    assert code == 0, err
    assert len((made / "history.csv").read_text().splitlines()) == 3

    image = next((findings / "data").rglob("*.jpeg"))
    code, out, err = run("evaluate", data, "--model", made, "--out", findings / "evaluation", "--no-confounders")
    assert code == 0, err
    row = json.loads(run("explain", image, "--model", made, "--out", findings / "heat", "--json")[1])["rows"][0]
    assert Path(row["heatmaps"]).exists()
    code, _, err = run("export", made, "--data", data, "--out", reader)
    assert code == 0, err
    code, out, _ = run("read", image, "--model", reader, "--json")
    assert code == 0
    reading = json.loads(out)
    assert sum(name.startswith("p_") for name in reading) == 12
    assert run("evaluate", data, "--model", reader, "--no-confounders")[0] == 0
