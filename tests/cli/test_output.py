"""Tables on terminals and in files, and standard error without messages of native libraries."""

import subprocess
import sys

import pytest

from pneumoscope.cli.output import print_methods, print_table
from pneumoscope.io.results import Estimate, MethodTable
from pneumoscope.progress import log

NAMES = [f"metric_{number}" for number in range(12)]


@pytest.fixture
def table():
    metrics = {name: Estimate(number / 12, 0.0, 1.0, 9) for number, name in enumerate(NAMES)}
    return MethodTable({"hirescam": metrics, "occlusion": {NAMES[0]: metrics[NAMES[0]]}}, {"occlusion": "Slow."})


def test_a_file_gets_one_line_per_method(table, capsys):
    print_methods(table)

    lines = capsys.readouterr().out.splitlines()
    (header,) = (line for line in lines if "method" in line and "metric_0" in line)
    (row,) = (line for line in lines if "hirescam" in line)
    assert all(name in header for name in NAMES)
    assert all(str(estimate) in row for estimate in table.metrics["hirescam"].values())
    assert "occlusion: Slow." in lines


def test_a_narrow_terminal_gets_several_tables_of_whole_columns(table, capsys, monkeypatch):
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "dumb"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    print_methods(table)

    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if "hirescam" in line]
    assert len(rows) > 2 and max(map(len, rows)) <= 80
    assert all(any(str(estimate) in row for row in rows) for estimate in table.metrics["hirescam"].values())


def run_python(code, *words):
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def test_a_command_that_loads_keras_prints_only_its_own_lines(tmp_path):
    pytest.importorskip("keras")
    done = run_python("from pneumoscope.cli.main import main; main()", "explain", "a.png", "--model", str(tmp_path))

    assert done.returncode == 2
    assert done.stderr.startswith("pneumoscope: ") and "holds no trained model" in done.stderr
    assert "oneDNN" not in done.stderr and "absl" not in done.stderr


@pytest.mark.parametrize("module", ["models.saved_model", "classification.classifier", "export.keras_graphs"])
def test_importing_keras_through_the_library_prints_nothing(module):
    pytest.importorskip("keras")
    done = run_python(f"import pneumoscope.{module}, keras; keras.Input((1,))")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_only_native_messages_are_dropped():
    done = run_python(
        "import logging, os, sys\n"
        "from pneumoscope.models.keras_import import drop_native_stderr\n"
        "with drop_native_stderr():\n"
        "    os.write(2, b'native')\n"
        "    logging.warning('logged')\n"
        "logging.warning('later')\n"
        "os.write(2, b'after')\n"
        "with drop_native_stderr():\n"
        "    raise OSError('no AVX')\n"
    )

    assert "native" not in done.stderr
    assert all(text in done.stderr for text in ("logged", "later", "after", "OSError: no AVX"))


def test_names_in_brackets_are_no_markup(capsys):
    print_table(None, ["file"], [["a[/b].png"], ["[red]"]])

    out = capsys.readouterr().out
    assert "a[/b].png" in out and "[red]" in out


def test_control_characters_in_log_messages_are_escaped(caplog):
    log.warning("%s is left out", "a\x1b[31m\nb")

    assert caplog.messages == ["a\\x1b[31m\\nb is left out"]
