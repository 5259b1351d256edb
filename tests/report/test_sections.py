"""Parts of pages on shortcuts and on the gate: what was measured is on the page, and nothing else is."""

from dataclasses import replace
from html.parser import HTMLParser

from pneumoscope.io.results import Estimate
from pneumoscope.report.confounders_section import present_shortcuts, write_shortcuts
from pneumoscope.report.figures.confounders import describe_shortcuts, draw_shortcuts
from pneumoscope.report.ood_section import present_gate
from pneumoscope.report.templates import make_environment


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


def render(template, **variables):
    html = make_environment().get_template(template).render(**variables)
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return html


def test_shortcuts_are_on_the_page(shortcuts, tmp_path):
    html = render("confounders.html.j2", shortcuts=present_shortcuts(shortcuts, tmp_path))

    assert (tmp_path / "shortcuts.png").exists() and (tmp_path / "shortcuts.svg").exists()
    for text in ("lungs hidden", "0.860", "-0.040", "-9.0 points", "outer tenth alone", "0.770", "12.5%", "37.0%"):
        assert text in html, text


def test_the_sentences_weigh_what_is_told_without_lungs(shortcuts):
    told = " ".join(write_shortcuts(shortcuts))
    chance = {"auroc": Estimate(0.51, 0.49, 0.53, 80), "accuracy": Estimate(0.5, 0.48, 0.52, 80)}
    blind = {**shortcuts.metrics, "lung_area_hidden": chance}
    honest = " ".join(write_shortcuts(replace(shortcuts, metrics=blind)))

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


def test_the_gate_is_on_the_page_by_origin(ood_check):
    html = render("ood.html.j2", gate=present_gate(ood_check))

    for text in ("3.1%", "98.0%", "has never seen", "weakest on: &lt;clouds&gt;", "The film looks tilted."):
        assert text in html, text
    assert "From elsewhere" not in html


def test_what_was_not_learned_without_lungs_is_said_to_be_missing(shortcuts, tmp_path):
    html = render("confounders.html.j2", shortcuts=present_shortcuts(replace(shortcuts, pixel_baselines={}), tmp_path))

    assert "no training films of both classes" in html
    assert "outer tenth alone" not in html


def test_a_regression_that_points_the_other_way_is_told(shortcuts):
    turned = {"exposure": {"auroc": Estimate(0.3, 0.25, 0.35, 80), "accuracy": Estimate(0.4, 0.3, 0.5, 80)}}

    assert "points the other way" in " ".join(write_shortcuts(replace(shortcuts, pixel_baselines=turned)))
    assert "points the other way" not in " ".join(write_shortcuts(shortcuts))
