"""Predictions of any tool are matched to the images by path or name, and nothing is left out silently."""

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import CollectionError, PneumoscopeError
from pneumoscope.evaluation.predictions import evaluate_predictions
from pneumoscope.labels import LabelSet

FINDINGS = LabelSet(("Effusion", "Mass"), multi_label=True)


def make_dataset(labels, label_set):
    count = len(labels)
    columns = {
        "path": [f"/data/test/{number}.png" for number in range(count)],
        "name": [f"test/{number}.png" for number in range(count)],
        "sha256": map(str, range(count)),
        "label": labels,
        "patient": map(str, range(count)),
    }
    table = pd.DataFrame({**columns, "split": "test", "uncertain": "", "age": "", "sex": "", "view": ""})
    return Dataset(np.zeros((count, 8, 8), np.uint8), table, pd.DataFrame(columns=["name", "reason"]), label_set)


@pytest.fixture
def dataset():
    return make_dataset(["normal", "bacterial", "viral", "pneumonia"] * 5, KERMANY_LABELS)


@pytest.fixture
def write(tmp_path):
    def write_rows(header, rows):
        path = tmp_path / "predictions.csv"
        path.write_text("\ufeff" + "\n".join([header, *rows]), encoding="utf-8")
        return path

    return write_rows


def test_rows_are_matched_by_path_name_or_file_name(dataset, write):
    names = ["/data/test/0.png", "test/1.png", "2.png", "elsewhere/3.png", "./test/4.png", "other.png"]
    path = write("path,p_normal,p_bacterial,Viral", [f"{name},0.2,0.5,0.3" for name in names] + ["5.png,1,,0"])
    evaluation = evaluate_predictions(dataset, path)

    assert evaluation.images.names.tolist() == [f"test/{number}.png" for number in range(5)]
    assert evaluation.unreadable[0] == {"name": "test/5.png", "reason": "a value in predictions.csv is no number"}
    assert len(evaluation.unreadable) == 15 and "no prediction" in evaluation.unreadable[1]["reason"]
    assert [entry["name"] for entry in evaluation.left_out] == ["other.png"]
    assert evaluation.images.decisions.tolist() == ["pneumonia"] * 5
    assert evaluation.scopes["all"].points["0.5"]["sensitivity"].value == 1
    assert evaluation.scopes["all"].classes.metrics["accuracy"].n == 4


@pytest.mark.parametrize("header", ["image;pneumonia", "name;Score", "file;p_pneumonia"])
def test_one_score_is_that_of_the_positive_class(header, dataset, write):
    path = write(header, [f"{number}.png;{0.1 if number % 4 == 0 else 0.8}" for number in range(20)])
    evaluation = evaluate_predictions(dataset, path, operating_point=0.9)

    assert evaluation.images.label_set == KERMANY_LABELS.binary()
    assert evaluation.main_metrics()["auroc"].value == 1
    assert evaluation.main_metrics()["sensitivity"].value == 0


def test_findings_without_a_column_are_not_evaluated(write, caplog):
    dataset = make_dataset(["Effusion", "", "Effusion|Mass", "Mass"] * 5, FINDINGS)
    path = write("name,Effusion", [f"{number}.png,{0.9 if number % 2 == 0 else 0.2}" for number in range(20)])
    evaluation = evaluate_predictions(dataset, path)

    assert evaluation.images.label_set.classes == ("Effusion",)
    assert evaluation.main_metrics()["auroc_Effusion"].value == 1
    assert "other findings are not evaluated" in caplog.text


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("nothing,normal", ["a,1"], "expected one named path or name"),
        ("name,covid", ["0.png,1"], "expected p_normal, p_bacterial, p_viral, or one of pneumonia"),
        ("name,score", ["a.png,1"], "no prediction for any of the 20 images"),
        ("name,score", ["0.png,1", "test/0.png,1"], "two predictions"),
        ("name,score", ["0.png,-3.5"], "Apply softmax or sigmoid"),
        ("name,normal,bacterial,viral", ["0.png,0.9,0.9,0.9"], "sum to 2.700"),
    ],
)
def test_unusable_tables_are_errors(header, rows, message, dataset, write):
    with pytest.raises(PneumoscopeError, match=message):
        evaluate_predictions(dataset, write(header, rows))


def test_a_missing_table_is_an_error(dataset, tmp_path):
    with pytest.raises(CollectionError, match="cannot be read as a table"):
        evaluate_predictions(dataset, tmp_path / "missing.csv")
