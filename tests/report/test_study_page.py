import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.results import Estimate
from pneumoscope.phantoms.phantom import PHANTOM_NOTE
from pneumoscope.report import sentences
from pneumoscope.report import study_page as page
from pneumoscope.report.comparison import compare_metrics
from pneumoscope.report.published import PUBLICATIONS, REFERENCE_STUDY
from pneumoscope.study.summary import SCHEMA_VERSION, TASKS, summarize_study

BAD_NAME = "<script>alert('x')</script>.jpeg"
VOID = {"meta", "img", "br", "input"}


class Outline(HTMLParser):
    """Tags, identifiers, addresses, headings and text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.links, self.images, self.headings, self.open_tags = [], [], [], [], [], []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag not in VOID:
            self.open_tags.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append(attributes)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open_tags):
            self.text += data


@pytest.fixture(scope="module")
def study(tmp_path_factory, stages, dataset, leave):
    chosen = {name: stages[name] for name in stages if not name.startswith("reference") or name == "reference-binary"}
    out_dir = leave(tmp_path_factory.mktemp("study"), chosen)
    page.write_report(out_dir, dataset)
    return out_dir


@pytest.fixture(scope="module")
def html(study):
    return (study / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outline(html):
    return Outline(html)


@pytest.fixture
def leave_part(tmp_path, stages, leave):
    def leave_names(*names, **more):
        return leave(tmp_path, {name: stages[name] for name in names}, **more)

    return leave_names


def test_page_is_one_well_formed_file_without_network(html, outline):
    assert not {"link", "iframe", "object"} & set(outline.tags)
    assert "<script src" not in html and "fetch(" not in html and "import(" not in html and "@import" not in html
    assert all(image["src"].startswith("data:image/svg+xml,") for image in outline.images)
    assert "url(" not in re.sub(r'src="data:[^"]*"', "", html).replace("url(${address})", "")
    # A policy that allows scripts and styles by their hash allows no attribute with one.
    assert not re.search(
        r"<[^>]*\s(style|on\w+)=", re.sub(r"<script.*?</script>|\"data:[^\"]*\"", "", html, flags=re.DOTALL)
    )
    assert len(html) < 15e6
    assert outline.open_tags == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert outline.headings.count(1) == outline.headings[0] == 1
    assert all(below <= above + 1 for above, below in zip(outline.headings, outline.headings[1:], strict=False))


def test_page_holds_every_section_table_and_figure(study, outline):
    sections = (
        "overview",
        *("binary", "multiclass", "neighbors", "anomaly", "explain"),
        "thresholds",
        "data",
        "leakage",
        "limitations",
        "settings",
        "machine",
        "sources",
    )
    assert set(sections) <= set(outline.ids)
    results = json.loads((study / "results.json").read_text())
    accuracy = results["tasks"]["binary"]["improved"]["metrics"]["accuracy"]
    for text in (
        *(RESEARCH_USE_ONLY, REFERENCE_STUDY, f"{100 * accuracy['value']:.1f}%", "Reference study: 77.4%"),
        *(publication.name for publication in PUBLICATIONS),
        *("10.17632/rscbjbr9sj", "Learning rate".lower(), "12 min 50 s in total", "5,216"),
    ):
        assert text in outline.text, text
    names = {path.stem for path in (study / "figures").glob("*.svg")}
    assert len(names) == len(outline.images) > 12
    assert {"improved-explain-heatmaps", "improved-neighbors_binary-nearest"} <= names
    assert all(len(image["alt"]) > 40 for image in outline.images)
    assert "nan" not in re.findall(r"\w+", (outline.text + str(outline.images)).lower())
    assert "None" not in outline.text and "{{" not in outline.text and "&#34;" not in outline.text
    assert not list(study.rglob("*partial*"))


def test_file_names_are_escaped(tmp_path, stages, leave):
    audit = replace(stages["audit"], unreadable=[{"name": BAD_NAME, "reason": "truncated"}])
    html = page.write_report(leave(tmp_path, {"audit": audit}, skipped=1)).read_text(encoding="utf-8")
    assert BAD_NAME not in html
    assert BAD_NAME in Outline(html).text
    assert "Files left out: 1." in Outline(html).text


def test_phantoms_are_announced_and_not_compared(leave_part):
    out_dir = leave_part("improved-binary", "audit", phantoms=True)
    text = Outline(page.write_report(out_dir).read_text(encoding="utf-8")).text
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
def test_unfinished_study_has_the_sections_of_its_stages(leave_part, names, sections):
    out_dir = leave_part(*names)
    (out_dir / "stages" / "best-embeddings.npz").write_bytes(b"a file of another program")
    outline = Outline(page.write_report(out_dir).read_text(encoding="utf-8"))
    assert set(TASKS) & set(outline.ids) == sections
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)
    assert not [path.stem for path in (out_dir / "figures").glob("*.svg") if "nearest" in path.stem]


def test_studies_of_other_classes_are_shown_without_the_reference_study(tmp_path, other_stages, other_dataset, leave):
    left_out = {"anomaly": "no image of a negative class"}
    stages = {name: stage for name, stage in other_stages.items() if name != "improved-anomaly"}
    out_dir = leave(tmp_path, stages, label_set=other_dataset.label_set, left_out=left_out)
    text = Outline(page.write_report(out_dir, other_dataset).read_text(encoding="utf-8")).text

    task = other_dataset.label_set.task
    assert ("1 Effusion, Mass and Pleural_Thickening" if task == "multilabel" else "1.B 20 classes") in text
    assert "no image of a negative class" in text
    for absent in ("Kermany", "624", "None", "nan", "normal or", *(publication.name for publication in PUBLICATIONS)):
        assert absent not in text, absent


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing; expected the folder"),
        ("{", "cannot be read"),
        ("[]", f"schema version None, expected {SCHEMA_VERSION}"),
        ('{"schema_version": "1.1"}', f"schema version 1.1, expected {SCHEMA_VERSION}"),
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


def test_limitations_follow_the_data(stages, facts):
    limitations = " ".join(sentences.write_limitations(summarize_study(stages, **facts), stages["audit"]))
    assert "624 images. This study used 319 of them" in limitations
    assert "25.7% of the training images and 36.7% of the test images" in limitations
    phantoms = {**facts, "data": {**facts["data"], "phantoms": True}}
    limitations = " ".join(sentences.write_limitations(summarize_study(stages, **phantoms), None))
    assert "624" not in limitations
    assert PHANTOM_NOTE in limitations
