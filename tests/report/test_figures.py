import base64
import io
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.labels import LabelSet
from pneumoscope.report.figures import anomaly, curves, explain, neighbors, palette, scores


def texts(figure):
    labels = {text.get_text() for axes in figure.axes for text in axes.texts}
    return labels | {axes.get_title(loc) for axes in figure.axes for loc in ("left", "center")}


def find_mark(axes, marker):
    (line,) = (line for line in axes.lines if line.get_marker() == marker)
    return line.get_xydata()


def test_no_figure_needs_pyplot():
    code = (
        "import sys\n"
        "from pneumoscope.report.figures import anomaly, curves, explain, neighbors, scores\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import numpy as np\n"
        "from pneumoscope.io.results import LearningCurve\n"
        "v = np.array([3.0, 2.0])\n"
        "curves.draw_learning_curve(LearningCurve(v, v, v, v, 1, 0.0), title='t').draw_without_rendering()\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_learning_curve_and_k_scores_mark_what_was_chosen(stages):
    curve, chosen = stages["improved-binary"].curve, stages["improved-neighbors_binary"]
    panels = curves.draw_learning_curve(curve, title="1.A").axes
    for axes, values in zip(panels, (curve.val_loss, curve.val_accuracy), strict=True):
        assert find_mark(axes, "D").tolist() == [[curve.chosen_epoch, values[curve.chosen_epoch - 1]]]
    autoencoder = curves.draw_learning_curve(stages["improved-anomaly"].curve, title="3")
    assert [axes.get_title("left") for axes in autoencoder.axes] == ["Loss"]
    axes = neighbors.draw_k_scores(chosen, title="k").axes[0]
    assert find_mark(axes, "D").tolist() == [[chosen.k, chosen.k_scores[str(chosen.k)]]]
    assert f"Chosen: k = {chosen.k}" in axes.figure.get_label()


@pytest.mark.parametrize("stage", ["improved-binary", "improved-multiclass"])
def test_confusion_shows_counts_and_shares_of_the_row(stages, stage):
    evaluation = stages[stage].evaluations["test"]
    shown = texts(scores.draw_confusion(evaluation, title="test"))
    described = scores.describe_confusion(evaluation)
    for row, column in np.ndindex(evaluation.confusion.shape):
        count = evaluation.confusion[row, column]
        share = 100 * count / evaluation.confusion[row].sum()
        assert f"{count}\n{share:.1f}%" in shown
        assert f"{count} ({share:.1f}%) {evaluation.classes[column]}" in described
    empty = np.zeros_like(evaluation.confusion)
    assert "0\n0.0%" in texts(scores.draw_confusion(replace(evaluation, confusion=empty), title="test"))


def test_roc_of_two_classes_is_that_of_pneumonia(stages):
    evaluation = stages["improved-binary"].evaluations["test"]
    roc, _ = scores.draw_roc_and_precision(evaluation, title="test").axes
    curve, mark = roc.lines[0], roc.lines[1]
    assert curve.get_label() == "pneumonia"
    area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
    positive, negative = (evaluation.probabilities[evaluation.labels == number, 1] for number in (1, 0))
    assert area == pytest.approx(np.mean(positive[:, None] > negative[None]), abs=1e-6)
    confusion = evaluation.confusion
    assert mark.get_xdata()[0] == pytest.approx(confusion[0, 1] / confusion[0].sum())
    assert mark.get_ydata()[0] == pytest.approx(confusion[1, 1] / confusion[1].sum())


def test_roc_leaves_out_a_class_without_images(stages):
    evaluation = stages["improved-multiclass"].evaluations["test"]
    without_viral = replace(evaluation, labels=np.minimum(evaluation.labels, 1))
    roc, _ = scores.draw_roc_and_precision(without_viral, title="test").axes
    labels = {line.get_label() for line in roc.lines}
    assert {"normal", "bacterial"} <= labels and "viral" not in labels


@pytest.mark.parametrize("label_set", KERMANY_LABELS.tasks().values())
def test_neighbors_are_framed_in_the_color_of_their_class(stages, dataset, label_set):
    result = stages["improved-neighbors_multiclass"]
    axes = neighbors.draw_neighbors(result, dataset, label_set=label_set, title="Nearest").axes[0]
    row = [int(result.queries[0]), *result.nearest[0]]
    names, styles = neighbors.name_labels(dataset, label_set), palette.class_style(label_set)
    frames = [to_hex(patch.get_edgecolor()).upper() for patch in axes.patches[: len(row)]]
    assert frames == [styles[names[index]][0].upper() for index in row]
    titles = [text.get_text() for text in axes.texts[: len(row)]]
    assert titles[0] == f"test: {names[row[0]]}"
    assert titles[1] == f"{names[row[1]]}, {result.distances[0, 0]:.2f}"
    assert len(axes.patches) == neighbors.MOST_QUERIES * 6


def test_twenty_classes_differ_in_color_or_marker_and_keep_those_of_the_known_set():
    many = palette.class_style([f"class {number}" for number in range(20)])
    assert len(set(many.values())) == 20
    assert palette.NEGATIVE_STYLE not in many.values()
    assert palette.class_style(KERMANY_LABELS)["pneumonia"] == palette.class_style(("normal", "pneumonia"))["pneumonia"]
    assert palette.class_style(("b", "a"), "a")["a"] == palette.class_style(LabelSet(("b", "a"), "a"))["a"]
    assert palette.class_style(("b", "a"), "a")["a"] == palette.NEGATIVE_STYLE


def test_map_shows_train_faint_test_strong_and_new_as_named_stars(stages):
    embedding_map = stages["improved-map_multiclass"]
    axes = neighbors.draw_map(embedding_map, title="Map").axes[0]
    counts = [len(points.get_offsets()) for points in axes.collections]
    assert sum(counts[::2]) == np.sum(embedding_map.origins == "train")
    assert sum(counts[1::2]) == np.sum(embedding_map.origins == "test")
    assert axes.collections[0].get_alpha() < 0.5
    assert axes.collections[1].get_alpha() is None
    assert np.allclose(find_mark(axes, "*"), embedding_map.coordinates[embedding_map.origins == "new"])
    assert set(embedding_map.names[-2:]) <= texts(axes.figure)
    assert "2 new images" in axes.figure.get_label()


def test_errors_stand_beside_their_thresholds(stages):
    result = stages["improved-anomaly"]
    axes = anomaly.draw_scores(result, title="Errors").axes[0]
    assert {line.get_xdata()[0] for line in axes.lines} == set(result.thresholds.values())
    only_normals = replace(result, labels=np.zeros_like(result.labels))
    anomaly.draw_scores(only_normals, title="Errors").draw_without_rendering()


@pytest.mark.parametrize(
    ("change", "what", "score"),
    [
        ({}, "error", "mean squared error of the reconstruction"),
        ({"reconstructions": None}, "distance", "distance from the nearest normals"),
    ],
)
def test_anomaly_maps_name_their_mean(stages, change, what, score):
    result = replace(stages["improved-anomaly"], **change)
    shown = texts(anomaly.draw_reconstructions(result, names=["normal"] * 6, title="Maps"))
    assert {f"{what} {values.mean():.4g}" for values in result.anomaly_maps} | {"normal"} <= shown
    assert ("reconstruction" in shown) == (result.reconstructions is not None)
    assert anomaly.draw_scores(result, title="Scores").axes[0].get_xlabel() == score


def test_heatmap_examples_have_normals_left_and_pneumonias_right(stages):
    result = stages["improved-explain"]
    axes = explain.draw_heatmap_examples(result, title="Heatmaps").axes[0]
    titles = [text.get_text() for text in axes.texts[:6]]
    assert [title.partition(",")[0] for title in titles] == ["normal"] * 3 + ["pneumonia"] * 3
    assert titles[3] == "pneumonia, wrong"
    assert set(result.layers) <= texts(axes.figure)


def test_feature_maps_are_named_by_filter_the_most_active_first(stages):
    result = stages["improved-explain"]
    axes = explain.draw_feature_maps(result, title="Maps").axes[0]
    strongest = int(result.feature_maps["conv_1"].mean(axis=(1, 2)).argmax())
    assert axes.texts[0].get_text() == f"filter {strongest}"
    dead = replace(result, feature_maps={name: np.zeros_like(maps) for name, maps in result.feature_maps.items()})
    explain.draw_feature_maps(dead, title="Maps").draw_without_rendering()


def test_saved_figures_carry_note_and_description_and_are_reproducible(stages, tmp_path):
    saved = set()
    for _ in range(2):
        figure = curves.draw_learning_curve(stages["improved-binary"].curve, title="1.A")
        palette.save_figure(figure, tmp_path / "curve", note="Note.")
        saved.add((tmp_path / "curve.svg").read_text(encoding="utf-8"))
    (svg,) = saved
    ElementTree.fromstring(svg)
    description = f"{figure.get_label()} Note."
    with Image.open(tmp_path / "curve.png") as image:
        assert image.text["Description"] == description
        image.load()
    address = palette.embed_svg(svg)
    assert description in svg and "prefers-color-scheme" not in svg
    assert address.startswith("data:image/svg+xml,%3Csvg") and not set('"<>#\n') & set(address)
    assert "prefers-color-scheme" in address and "currentColor" in address


def test_embedded_images_keep_their_content_in_fewer_bytes(stages, tmp_path):
    figure = explain.draw_heatmap_examples(stages["improved-explain"], title="Heatmaps")
    address = palette.save_page_figure(figure, tmp_path / "heatmaps", caption="c").address
    svg = (tmp_path / "heatmaps.svg").read_text(encoding="utf-8")

    whole, small = (
        max(re.findall(rf"data:image/{name};base64,([A-Za-z0-9+/=\s]+)", text), key=len)
        for name, text in (("png", svg), ("webp", address))
    )
    assert "image/png" not in address
    assert len(small) < len(whole)
    opened = [Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA") for text in (whole, small)]
    assert opened[0].size == opened[1].size
    visible = np.asarray(opened[0])[..., 3] > 0
    errors = np.abs(np.asarray(opened[0], float) - np.asarray(opened[1], float))[visible]
    assert errors.mean() < 8
