"""Tables on disk: all formats are read as written, and an interrupted one is continued."""

import csv
import json
import stat

import pandas
import pytest

from pneumoscope.data.identity import Identity
from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.reading import Reading, ReferenceCase
from pneumoscope.inference.table import FORMATS, Table, list_columns, read_table

HEAD = {"model": "m", "operating_point": "balanced"}
PROBABILITIES = {"sem alterações": 0.25, "covid, grave": 0.5, "viral": 0.25, "abnormal": 0.75}
SCORED = tuple(PROBABILITIES)


def make_rows():
    case = ReferenceCase('quoted "name", one.jpeg', "viral", 1.5, 3)
    scores = {"probabilities": PROBABILITIES, "anomaly_score": 0.002, "anomaly_percentile": 40.0}
    described = {"in_distribution": True, "anomalous": False, "width": 300, "height": 200, "dicom_files": ("a b.dcm",)}
    described |= {"warnings": ("bars_cropped", "range_stretched"), "intervals": {"viral": (0.2, 0.3)}}
    described["identity"] = Identity(sop_instance_uid="1.2", age_years=62.5, sex="F", study_date="20240101")
    turned = {"decision": "rejected", "in_distribution": False, "reason": "It looks upside down."}
    readings = [
        Reading("a.png", "balanced", "m", decision="viral", neighbors=(case,), **described, **scores),
        Reading("naïve\\nname.png", "balanced", "m", error="empty file", scored=SCORED),
        Reading("c.png", "balanced", "m", scored=SCORED, **turned),
    ]
    return [reading.to_row() for reading in readings]


def write_table(path, rows, *, resume=False):
    with Table(path, resume=resume, head=HEAD, scored=SCORED) as table:
        for row in rows:
            table.add(row)
        table.finish()


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_is_read_as_written(tmp_path, suffix):
    path = tmp_path / f"readings{suffix}"
    write_table(path, make_rows())

    assert list(read_table(path)) == make_rows()
    if suffix == ".csv":
        table = pandas.read_csv(path)
        assert tuple(table.columns) == list_columns(SCORED) and table["p_abnormal"][0] == 0.75
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_only_the_user_can_read_a_table(tmp_path, suffix):
    path = tmp_path / "new" / f"readings{suffix}"
    for resume in (False, True):
        with Table(path, resume=resume, head=HEAD, scored=SCORED) as table:
            (partial,) = path.parent.glob("*.partial")
            assert stat.S_IMODE(partial.stat().st_mode) == 0o600
            table.finish()
        path.chmod(0o600 if resume else 0o644)
    write_table(path, make_rows(), resume=True)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_killed_or_finished_table_is_continued(tmp_path, suffix):
    path = tmp_path / f"readings{suffix}"
    rows = make_rows()
    (tmp_path / f"readings{suffix}.partial").write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[1])[:40])

    with Table(path, resume=True, head=HEAD, scored=SCORED) as table:
        assert table.done == {rows[0]["path"]}
    write_table(path, rows[1:2], resume=True)
    write_table(path, rows[2:], resume=True)

    assert list(read_table(path)) == rows


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_with_an_error_are_read_again(tmp_path, suffix):
    path = tmp_path / f"readings{suffix}"
    rows = make_rows()
    write_table(path, rows)
    with Table(path, resume=True, head=HEAD, scored=SCORED, retry=False) as table:
        assert table.done == {row["path"] for row in rows}
        table.finish()
    repaired = {**rows[1], "error": None, "decision": "viral"}
    with Table(path, resume=True, head=HEAD, scored=SCORED) as table:
        assert table.done == {rows[0]["path"], rows[2]["path"]}
        table.add(repaired)
    write_table(path, [], resume=True)

    assert list(read_table(path)) == [rows[0], rows[2], repaired]


def test_a_second_run_cannot_write_the_same_table(tmp_path):
    path = tmp_path / "readings.csv"
    with Table(path, resume=True, head=HEAD, scored=SCORED) as table:
        with pytest.raises(PneumoscopeError, match="another process writes"):
            Table(path, resume=True, head=HEAD, scored=SCORED)
        for row in make_rows():
            table.add(row)
        table.finish()
    assert len(list(read_table(path))) == 3


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM", "\tx", "'=1"])
def test_no_cell_of_a_csv_file_begins_a_formula(tmp_path, start):
    path, name = tmp_path / "readings.csv", f"{start}.png"
    write_table(path, [{**make_rows()[0], "path": name}])
    with path.open(newline="") as stream:
        cell = list(csv.reader(stream))[1][0]
    assert cell == f"'{name}"
    assert next(read_table(path))["path"] == name


def test_an_existing_file_is_not_overwritten(tmp_path):
    (tmp_path / "readings.csv").write_text("mine")

    with pytest.raises(PneumoscopeError, match="Add --resume"):
        Table(tmp_path / "readings.csv", resume=False, head=HEAD, scored=SCORED)

    assert (tmp_path / "readings.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("readings.xlsx", None, "expected one of .csv"),
        ("readings.csv", "a,b\n1,2\n", "has the columns a, b"),
        ("readings.parquet", "text", "is not a table of readings"),
    ],
)
def test_a_wrong_file_is_an_error(tmp_path, name, content, message):
    if content:
        (tmp_path / name).write_text(content)

    with pytest.raises(PneumoscopeError, match=message):
        Table(tmp_path / name, resume=True, head=HEAD, scored=SCORED)


def test_readings_of_other_settings_are_not_mixed(tmp_path):
    path = tmp_path / "readings.csv"
    write_table(path, make_rows())

    with pytest.raises(PneumoscopeError, match="was 'balanced' and is 'specific' now"):
        Table(path, resume=True, head={**HEAD, "operating_point": "specific"}, scored=SCORED)
