"""Parts of pages on shortcuts and on the gate: what was measured is on the page, and nothing else is."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pneumoscope.checks import GateCheck, KindCheck, Shortcuts
from pneumoscope.report.figures.shortcuts import describe_shortcuts, draw_shortcuts
from pneumoscope.report.gate_section import present_gate
from pneumoscope.report.shortcuts_section import present_shortcuts, write_shortcuts
from pneumoscope.report.templates import make_environment
from pneumoscope.results import Estimate


class Tags(HTMLParser):
    """Count open tags, so that a part leaves its page as it found it."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def near(value, n=80):
    return Estimate(value, value - 0.02, value + 0.02, n)


def figures(auroc, accuracy):
    return {"auroc": near(auroc), "accuracy": near(accuracy)}


@pytest.fixture
def shortcuts():
    changed = ("borders_hidden", "markers_hidden", "lungs_only", "lungs_hidden", "lung_area_hidden")
    return Shortcuts(
        split="test",
        threshold=0.6,
        figures={"untouched": figures(0.9, 0.8)} | {name: figures(0.86, 0.71) for name in changed},
        differences={name: figures(-0.04, -0.09) for name in changed},
        hidden={name: near(0.37) for name in changed},
        trivial={"exposure": figures(0.55, 0.52), "borders": figures(0.77, 0.7)},
        series={
            "IM": {"exposure": near(121.0), "contrast": near(57.0), "markers": near(0.5), "flagged": near(0.125)},
        },
    )


@pytest.fixture
def check():
    def kind(name, origin, flagged, refused, reason):
        return KindCheck(name, origin, near(flagged), near(refused), reason)

    return GateCheck(
        "val",
        (
            kind("films as they are", "usual", 0.031, 0.0, ""),
            kind("noise", "learned", 1.0, 0.98, "This does not look like a frontal chest film."),
            kind("<clouds>", "unseen", 0.66, 0.44, "The film looks tilted."),
        ),
    )


def render(template, **variables):
    html = make_environment().get_template(template).render(**variables)
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return html


def test_shortcuts_are_on_the_page(shortcuts, tmp_path):
    html = render("shortcuts.html.j2", shortcuts=present_shortcuts(shortcuts, tmp_path))

    assert (tmp_path / "shortcuts.png").exists() and (tmp_path / "shortcuts.svg").exists()
    for text in ("lungs hidden", "0.860", "-0.040", "-9.0 points", "outer tenth alone", "0.770", "12.5%", "37.0%"):
        assert text in html, text


def test_the_sentences_weigh_what_is_told_without_lungs(shortcuts):
    told = " ".join(write_shortcuts(shortcuts))
    blind = {**shortcuts.figures, "lung_area_hidden": figures(0.51, 0.5)}
    honest = " ".join(write_shortcuts(replace(shortcuts, figures=blind)))

    assert "90% of its AUROC above chance" in told
    assert "the outer tenth, reaches 0.770" in told
    assert "above chance" not in honest


def test_the_figure_shows_every_figure(shortcuts):
    drawn = draw_shortcuts(shortcuts, title="test")
    auroc, accuracy = drawn.axes
    described = describe_shortcuts(shortcuts)

    assert [axes.get_title("left") for axes in (auroc, accuracy)] == ["AUROC", "Accuracy"]
    assert [text.get_text() for text in auroc.texts] == ["0.900", *["0.860"] * 5, "0.550", "0.770"]
    assert "lungs hidden: AUROC 0.860 [0.840, 0.880], Accuracy 71.0%" in described


def test_the_gate_is_on_the_page_by_origin(check):
    html = render("gate.html.j2", gate=present_gate(check))

    for text in ("3.1%", "98.0%", "has never seen", "weakest on: &lt;clouds&gt;", "The film looks tilted."):
        assert text in html, text
    assert "From elsewhere" not in html
