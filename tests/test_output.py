"""Tables of many figures are whole wherever they are printed: on a narrow terminal, and in a file."""

import pytest

from pneumoscope.cli.output import print_methods
from pneumoscope.comparison import MethodTable
from pneumoscope.results import Estimate

NAMES = [f"figure_{number}" for number in range(12)]


@pytest.fixture
def table() -> MethodTable:
    figures = {
        method: {name: Estimate(number / 12, 0.0, 1.0, 9) for number, name in enumerate(NAMES)}
        for method in ("hirescam", "occlusion")
    }
    del figures["occlusion"]["figure_3"]
    return MethodTable(figures, {"occlusion": "Slow."})


def test_a_file_gets_one_line_a_method(table, capsys):
    print_methods(table)

    lines = capsys.readouterr().out.splitlines()
    (header,) = (line for line in lines if "method" in line and "figure_0" in line)
    (row,) = (line for line in lines if "hirescam" in line)
    assert all(name in header for name in NAMES)
    assert all(str(figure) in row for figure in table.figures["hirescam"].values())
    assert "occlusion: Slow." in lines


def test_a_narrow_terminal_gets_several_tables_of_whole_cells(table, capsys, monkeypatch):
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "dumb"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    print_methods(table)

    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if "hirescam" in line]
    assert len(rows) > 2 and max(map(len, rows)) <= 80
    for figure in table.figures["hirescam"].values():
        assert sum(str(figure) in row for row in rows) >= 1
