import json
from dataclasses import replace

import pytest

from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.results import Estimate
from pneumoscope.phantoms.phantom import PHANTOM_NOTE
from pneumoscope.report import sentences
from pneumoscope.report import study_page as page
from pneumoscope.report.comparison import compare_metrics
from pneumoscope.report.published import PUBLICATIONS, REFERENCE_STUDY
from pneumoscope.report.tables import tabulate_false_positives, tabulate_reference_rules
from pneumoscope.study.summary import SCHEMA_VERSION, TASKS, summarize_study

BAD_NAME = "<script>alert('x')</script>.jpeg"


@pytest.fixture(scope="module")
def study(tmp_path_factory, stages, dataset, leave):
    chosen = {name: stages[name] for name in stages if not name.startswith("reference") or name == "reference-binary"}
    return page.write_report(leave(tmp_path_factory.mktemp("study"), chosen), dataset).parent


@pytest.fixture
def leave_part(tmp_path, stages, leave):
    return lambda *names, **more: leave(tmp_path, {name: stages[name] for name in names}, **more)


def test_page_holds_every_section_table_and_figure(study, read_page):
    outline = read_page(study / "report.html")
    assert len(outline.source) < 15e6
    assert {*TASKS, "thresholds", "leakage", "limitations", "settings", "machine"} - {"multilabel"} <= set(outline.ids)
    results = json.loads((study / "results.json").read_text())
    accuracy = results["tasks"]["binary"]["improved"]["metrics"]["accuracy"]
    for text in (
        *(REFERENCE_STUDY, f"{100 * accuracy['value']:.1f}%", "Reference study: 77.4%", "Pointing game"),
        *(publication.name for publication in PUBLICATIONS),
        *("10.17632/rscbjbr9sj", "learning rate", "12 min 50 s in total", "5,216"),
    ):
        assert text in outline.text, text
    names = {path.stem for path in (study / "figures").glob("*.svg")}
    assert len(names) == len(outline.images) > 12
    assert {"improved-explain-heatmaps", "improved-neighbors_binary-nearest"} <= names
    assert all(len(image["alt"]) > 40 for image in outline.images)
    assert not list(study.rglob("*partial*"))


def test_file_names_are_escaped(tmp_path, stages, leave, read_page):
    audit = replace(stages["audit"], unreadable=[{"name": BAD_NAME, "reason": "truncated"}])
    outline = read_page(page.write_report(leave(tmp_path, {"audit": audit}, skipped=1)))
    assert BAD_NAME not in outline.source
    assert BAD_NAME in outline.text and "Files left out: 1." in outline.text


def test_a_damaged_stage_is_named_and_the_rest_is_shown(leave_part, read_page, caplog):
    out_dir = leave_part("improved-binary", "improved-anomaly", "audit")
    (out_dir / "stages" / "improved-anomaly.npz").write_bytes(b"PK\3\4")
    outline = read_page(page.write_report(out_dir))
    assert "improved-anomaly.npz cannot be read" in outline.text and "resume the study" in outline.text
    assert any("Confusion" in image["alt"] for image in outline.images)
    assert "damaged" in caplog.text


def test_phantoms_are_announced_and_not_compared(leave_part, read_page):
    out_dir = leave_part("improved-binary", "audit", phantoms=True)
    text = read_page(page.write_report(out_dir)).text
    assert PHANTOM_NOTE in text
    for absent in ("77.4", "ublished", "319 radiographs", *(publication.name for publication in PUBLICATIONS)):
        assert absent not in text
    svg = (out_dir / "figures" / "improved-binary-confusion.svg").read_text()
    assert "Phantoms, not radiographs." in svg


@pytest.mark.parametrize(
    ("names", "sections"),
    [
        (("audit",), set()),
        (("reference-binary",), {"binary"}),
        (("improved-neighbors_multiclass",), {"neighbors"}),
        (("reference-anomaly",), {"anomaly"}),
    ],
)
def test_unfinished_study_has_the_sections_of_its_stages(leave_part, read_page, names, sections):
    out_dir = leave_part(*names)
    (out_dir / "stages" / "best-embeddings.npz").write_bytes(b"a file of another program")
    outline = read_page(page.write_report(out_dir))
    assert set(TASKS) & set(outline.ids) == sections
    assert not [path.stem for path in (out_dir / "figures").glob("*.svg") if "nearest" in path.stem]


def test_studies_of_other_classes_are_shown_without_the_reference_study(tmp_path, other_study, leave, read_page):
    dataset, stages = other_study
    stages = {name: stage for name, stage in stages.items() if name != "improved-anomaly"}
    left_out = {"anomaly": "no image of a negative class"}
    out_dir = leave(tmp_path, stages, label_set=dataset.label_set, left_out=left_out)
    text = read_page(page.write_report(out_dir, dataset)).text

    assert ("1 Effusion, Mass and Pleural_Thickening" if dataset.label_set.multi_label else "1.B 20 classes") in text
    assert "no image of a negative class" in text
    for absent in ("Kermany", "624", "normal or", *(publication.name for publication in PUBLICATIONS)):
        assert absent not in text, absent


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing; expected the folder"),
        ("{", "cannot be read"),
        ("[]", f"schema version None, expected {SCHEMA_VERSION}"),
        ('{"schema_version": "1.1"}', f"schema version 1.1, expected {SCHEMA_VERSION}"),
        (f'{{"schema_version": "{SCHEMA_VERSION}", "tasks": 3}}', "is damaged: tasks, left_out, data"),
        ("[" * 100_000, "nested too deeply"),
        ("NaN", "no finite number"),
    ],
)
def test_damaged_results_are_an_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(PneumoscopeError, match=message):
        page.write_report(tmp_path)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.90, 0.87, 0.93), "does not explain the gain"),
        ((0.78, 0.75, 0.82), "may be chance"),
        ((0.60, 0.55, 0.65), "does not explain the loss"),
    ],
)
def test_headline_compares_intervals_with_the_reference_study(stages, facts, interval, verdict):
    results = summarize_study({"improved-binary": stages["improved-binary"]}, **facts)
    value, low, high = interval
    results["tasks"]["binary"]["improved"]["metrics"]["accuracy"] = {"value": value, "low": low, "high": high, "n": 319}
    (headline,) = sentences.write_headlines(results)
    assert verdict in headline


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "as the reference study reports"), (-0.1, 0.1, "not confirmed"), (-0.2, -0.1, "contrary to")],
)
def test_centrality_is_compared_with_the_reference_study(low, high, verdict):
    metrics = {"centrality_difference": Estimate((low + high) / 2, low, high, 319)}
    labels = KERMANY_LABELS.binary()
    assert verdict in sentences.write_centrality(metrics, labels, compared=True)
    assert "reference" not in sentences.write_centrality(metrics, labels, compared=False)


def test_comparison_holds_reference_ours_and_best_published(stages, facts):
    rows = {(row.task, row.metric): row for row in compare_metrics(summarize_study(stages, **facts))}
    publication, value = rows["binary", "accuracy"].best
    assert (publication.name, value) == ("ConvNeXt-V2-Tiny", 599 / 624)  # MedViTV2 was chosen on the test set
    assert rows["multiclass", "accuracy"].reference.value == 0.6346
    assert rows["anomaly", "auroc"].approximate
    assert list(rows["binary", "accuracy"].ours) == ["reference", "improved"]
    assert rows["anomaly", "sensitivity_two_sided"].reference.value == 0.63


def test_anomaly_tables_separate_our_threshold_from_the_reference_protocol(stages, facts):
    tasks = summarize_study(stages, **facts)["tasks"]["anomaly"]
    table = tabulate_reference_rules(tasks, compared=True)
    titles = [title for title, _ in table.rows]
    assert len(titles) == 2 * len(tasks) + 1 and "Improved, |score - mean| > sd of the test normals" in titles
    assert [cell.value for cell in table.rows[-1][1]] == ["27.0%", "63.0%"]
    assert len(tabulate_reference_rules(tasks, compared=False).rows) == 2 * len(tasks)
    rates = {title: [cell.value for cell in cells] for title, cells in tabulate_false_positives(tasks).rows}
    metrics = tasks["improved"]["metrics"]
    measured = [metrics[f"{name}_quantile"]["value"] for name in ("false_positive_rate", "sensitivity")]
    assert rates["Improved"] == ["5.0%", *(f"{100 * value:.1f}%" for value in measured)]


def test_limitations_follow_the_data(stages, facts):
    limitations = " ".join(sentences.write_limitations(summarize_study(stages, **facts), stages["audit"]))
    assert "624 images. This study used 319 of them" in limitations
    assert "25.7% of the training images and 36.7% of the test images" in limitations
    phantoms = {**facts, "data": {**facts["data"], "phantoms": True}}
    limitations = " ".join(sentences.write_limitations(summarize_study(stages, **phantoms), None))
    assert "624" not in limitations
    assert PHANTOM_NOTE in limitations
