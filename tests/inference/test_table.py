"""Tables on disk: all formats give back what was put in, and a torn one is gone on with."""

import json

import pytest

from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.reading import Reading, ReferenceCase
from pneumoscope.inference.table import COLUMNS, FORMATS, Table, read_table

HEAD = {"model": "m", "operating_point": "balanced"}
PROBABILITIES = {"normal": 0.25, "bacterial": 0.5, "viral": 0.25, "pneumonia": 0.75}


def make_rows():
    case = ReferenceCase('odd "name", one.jpeg', "viral", 1.5, 3)
    good = Reading(
        "a.png",
        "balanced",
        "m",
        decision="pneumonia",
        probabilities=PROBABILITIES,
        anomaly_score=0.002,
        anomaly_percentile=40.0,
        in_domain=True,
        neighbors=(case,),
    )
    bad = Reading("naïve\\nname.png", "balanced", "m", error="empty file")
    refused = Reading(
        "c.png", "balanced", "m", decision="refused", in_domain=False, reason="The film looks upside down."
    )
    return [reading.to_row() for reading in (good, bad, refused)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_gives_back_what_was_put_in(tmp_path, suffix):
    path = tmp_path / f"readings{suffix}"
    with Table(path, resume=False, head=HEAD) as table:
        for row in make_rows():
            table.add(row)
        table.finish()

    assert list(read_table(path)) == make_rows()
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_killed_table_is_gone_on_with(tmp_path, suffix):
    path = tmp_path / f"readings{suffix}"
    rows = make_rows()
    partial = tmp_path / f"readings{suffix}.partial"
    partial.write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[1])[:40])

    with Table(path, resume=True, head=HEAD) as table:
        assert table.done == {rows[0]["path"]}
        for row in rows[1:]:
            table.add(row)
        table.finish()

    assert list(read_table(path)) == rows


def test_a_finished_table_is_added_to(tmp_path):
    path = tmp_path / "readings.csv"
    rows = make_rows()
    for part in (rows[:2], rows[2:]):
        with Table(path, resume=True, head=HEAD) as table:
            for row in part:
                table.add(row)
            table.finish()

    assert list(read_table(path)) == rows


def test_a_csv_opens_elsewhere(tmp_path):
    pandas = pytest.importorskip("pandas")
    with Table(tmp_path / "readings.csv", resume=False, head=HEAD) as table:
        for row in make_rows():
            table.add(row)
        table.finish()

    found = pandas.read_csv(tmp_path / "readings.csv")

    assert tuple(found.columns) == COLUMNS
    assert found["p_pneumonia"][0] == 0.75


def test_what_stands_there_is_not_written_over(tmp_path):
    (tmp_path / "readings.csv").write_text("mine")

    with pytest.raises(PneumoscopeError, match="Add --resume"):
        Table(tmp_path / "readings.csv", resume=False, head=HEAD)

    assert (tmp_path / "readings.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("readings.xlsx", None, "expected one of .csv"),
        ("readings.csv", "a,b\n1,2\n", "has the columns a, b"),
        ("readings.parquet", "text", "is no table of readings"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, name, content, told):
    if content:
        (tmp_path / name).write_text(content)

    with pytest.raises(PneumoscopeError, match=told):
        Table(tmp_path / name, resume=True, head=HEAD)


def test_readings_of_other_settings_are_not_mixed(tmp_path):
    path = tmp_path / "readings.csv"
    with Table(path, resume=False, head=HEAD) as table:
        table.add(make_rows()[0])
        table.finish()

    with pytest.raises(PneumoscopeError, match="'balanced' then, 'specific' now"):
        Table(path, resume=True, head={**HEAD, "operating_point": "specific"})
