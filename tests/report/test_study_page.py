import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.results import Estimate
from pneumoscope.report import sentences
from pneumoscope.report import study_page as page
from pneumoscope.report.comparison import compare_metrics
from pneumoscope.report.published import PUBLICATIONS
from pneumoscope.study.summary import summarize_study

BAD_NAME = "<script>alert('x')</script>.jpeg"
VOID = {"meta", "img", "br", "input"}


class Outline(HTMLParser):
    """What a reader's program sees: tags, identifiers, addresses, headings, texts."""

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


def test_the_page_is_one_file_that_asks_for_nothing(html, outline):
    assert not {"link", "iframe", "object"} & set(outline.tags)
    assert "<script src" not in html and "fetch(" not in html and "import(" not in html
    assert all(image["src"].startswith("data:image/svg+xml,") for image in outline.images)
    assert "@import" not in html
    assert "url(" not in re.sub(r'src="data:[^"]*"', "", html).replace("url(${address})", "")
    # A policy that allows scripts and styles by their hash allows no attribute with one.
    assert not re.search(
        r"<[^>]*\s(style|on\w+)=", re.sub(r"<script.*?</script>|\"data:[^\"]*\"", "", html, flags=re.DOTALL)
    )
    assert len(html) < 15e6


def test_the_page_is_well_formed(outline):
    assert outline.open_tags == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)


def test_headings_go_down_one_step_at_a_time(outline):
    assert outline.headings.count(1) == 1
    assert outline.headings[0] == 1
    assert all(below <= above + 1 for above, below in zip(outline.headings, outline.headings[1:], strict=False))


def test_every_image_is_told_in_words_with_numbers(outline):
    assert len(outline.images) > 15
    assert all(len(image["alt"]) > 40 and re.search(r"\d", image["alt"]) for image in outline.images)
    assert not any("nan" in image["alt"] for image in outline.images)


def test_every_task_has_its_section(outline):
    sections = {
        "overview",
        "binary",
        "three_class",
        "thresholds",
        "neighbors",
        "anomaly",
        "explain",
        "data",
        "leakage",
        "limits",
    }
    assert sections <= set(outline.ids)
    assert RESEARCH_USE_ONLY in outline.text
    assert "10.17632/rscbjbr9sj" in outline.text


def test_every_figure_is_kept_as_png_and_svg(study, outline):
    names = {path.stem for path in (study / "figures").glob("*.svg")}
    assert names == {path.stem for path in (study / "figures").glob("*.png")}
    assert len(names) == len(outline.images)
    assert {"comparison", "improved-explain-gradcam", "improved-neighbors_binary-nearest"} <= names
    assert not list(study.rglob("*.partial"))


def test_the_headline_holds_paper_and_ours(study, outline):
    results = json.loads((study / "results.json").read_text())
    ours = results["tasks"]["binary"]["improved"]["metrics"]["accuracy"]
    assert f"{100 * ours['value']:.1f}%" in outline.text
    assert "the paper reports 77.4%" in outline.text
    assert all(publication.name in outline.text for publication in PUBLICATIONS)


def test_words_of_the_page_have_no_gaps(outline):
    assert "nan" not in re.findall(r"\w+", outline.text.lower())
    assert "None" not in outline.text


def test_names_of_files_cannot_change_the_page(tmp_path, stages, leave):
    audit = replace(stages["audit"], unreadable=[{"name": BAD_NAME, "reason": "truncated"}])
    html = page.write_report(leave(tmp_path, {"audit": audit}, skipped=1)).read_text(encoding="utf-8")
    assert BAD_NAME not in html
    assert BAD_NAME in Outline(html).text
    assert "left out: 1." in Outline(html).text


def test_phantoms_are_announced_and_never_compared(leave_part):
    out_dir = leave_part("improved-binary", "audit", phantoms=True)
    html = page.write_report(out_dir).read_text(encoding="utf-8")
    text = Outline(html).text
    assert "drawn phantoms, not radiographs" in text
    assert "77.4" not in text
    assert "ublished" not in text
    assert not any(publication.name in text for publication in PUBLICATIONS)
    assert "test radiographs" not in text
    svg = (out_dir / "figures" / "improved-binary-confusion.svg").read_text()
    assert "Drawn phantoms, not radiographs." in svg


@pytest.mark.parametrize(
    ("names", "sections"),
    [
        ((), set()),
        (("audit",), set()),
        (("reference-binary",), {"binary"}),
        (("improved-neighbors_three_class",), {"neighbors"}),
        (("reference-anomaly",), {"anomaly"}),
    ],
)
def test_a_part_of_a_study_is_shown(leave_part, names, sections):
    outline = Outline(page.write_report(leave_part(*names)).read_text(encoding="utf-8"))
    tasks = {"binary", "three_class", "neighbors", "anomaly", "explain"}
    assert tasks & set(outline.ids) == sections
    assert {link[1:] for link in outline.links if link.startswith("#")} <= set(outline.ids)


def test_without_the_dataset_neighbors_have_no_pictures(leave_part):
    out_dir = leave_part("improved-neighbors_binary")
    page.write_report(out_dir)
    assert [path.stem for path in (out_dir / "figures").glob("*.svg") if "nearest" in path.stem] == []


def test_other_files_among_the_stages_are_left_alone(leave_part):
    out_dir = leave_part("leakage")
    (out_dir / "stages" / "best-embeddings.npz").write_bytes(b"not ours")
    page.write_report(out_dir)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing; expected the folder"),
        ("{", "cannot be read"),
        ("[]", "schema version None, expected 1.1"),
        ('{"schema_version": "2.0"}', "schema version 2.0, expected 1.1"),
    ],
)
def test_a_folder_that_is_no_study_is_refused(tmp_path, content, message):
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
def test_the_headline_tells_gain_from_chance(stages, facts, interval, verdict):
    results = summarize_study({"improved-binary": stages["improved-binary"]}, **facts)
    value, low, high = interval
    results["tasks"]["binary"]["improved"]["metrics"]["accuracy"] = {"value": value, "low": low, "high": high, "n": 319}
    (_, trust), *_ = sentences.write_headlines(results)
    assert verdict in trust


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "as the paper saw"), (-0.1, 0.1, "not borne out"), (-0.2, -0.1, "the reverse")],
)
def test_the_papers_claim_is_judged_by_the_interval(low, high, verdict):
    difference = Estimate((low + high) / 2, low, high, 319)
    assert verdict in sentences.write_centrality({"centrality_difference": difference}, phantoms=False)
    assert "reference" not in sentences.write_centrality({"centrality_difference": difference}, phantoms=True)


def test_rows_of_the_comparison_hold_the_best_published(stages, facts):
    rows = {(row.task, row.metric): row for row in compare_metrics(summarize_study(stages, **facts))}
    publication, value = rows["binary", "accuracy"].best
    assert (publication.name, value) == ("MedViTV2-L", 0.973)
    assert rows["three_class", "accuracy"].paper.value == 0.6346
    assert rows["anomaly", "auroc"].approximate
    assert list(rows["binary", "accuracy"].ours) == ["reference", "improved"]


def test_limits_say_what_the_data_say(stages, facts):
    limits = " ".join(sentences.write_limits(summarize_study(stages, **facts), stages["audit"]))
    assert "624 images; this run had 319" in limits
    assert "25.7% of the training images and 36.7% of the test images" in limits
    assert "under two points is noise" in limits
    drawn = {**facts, "data": {**facts["data"], "phantoms": True}}
    limits = " ".join(sentences.write_limits(summarize_study(stages, **drawn), None))
    assert "624" not in limits
    assert "drawn phantoms" in limits


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [(0.2, 0.3, "points the wrong way"), (0.45, 0.6, "no better than chance"), (0.7, 0.8, "")],
)
def test_an_error_that_does_not_tell_pneumonia_is_called_so(low, high, told):
    text = sentences.write_direction({"auroc": Estimate((low + high) / 2, low, high, 100)})
    assert told in text
    assert bool(text) == bool(told)
