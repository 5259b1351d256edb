"""The image of a prediction: radiograph, heatmap, notice and result."""

from typing import Any

import numpy as np

from pneumoscope.labels import LabelSet
from pneumoscope.report.reading_image import draw_reading

LABELS = LabelSet(("normal", "bacterial", "viral"), "normal", {"pneumonia": ("bacterial", "viral")})
READING: dict[str, Any] = {
    "label_set": LABELS,
    "thresholds": {"pneumonia": 0.6},
    "explained": "pneumonia",
    "decision": "pneumonia",
    "operating_point": "balanced",
    "reason": None,
    "model": "default-3f2a9c41",
    "p_normal": 0.07,
    "p_bacterial": 0.71,
    "p_viral": 0.22,
    "p_pneumonia": 0.93,
    "anomaly_percentile": 97.3,
    "anomalous": True,
}
PROBABILITIES = ("p_normal", "p_bacterial", "p_viral", "p_pneumonia", "anomaly_percentile")
REJECTED = READING | dict.fromkeys(PROBABILITIES) | {"decision": "rejected", "reason": "Lateral view."}


IMAGE = np.full((80, 96), 0.5, np.float32)
HEATMAP = np.zeros((80, 96), np.float32)
HEATMAP[40:, 48:] = 1  # one hot quarter


def test_image_is_large_and_warm_where_the_heatmap_is() -> None:
    pixels = draw_reading(READING, HEATMAP, IMAGE)
    assert pixels.dtype == np.uint8 and pixels.shape[1] == 1024 and pixels.shape[2] == 3
    top = np.flatnonzero((pixels[:, 5] == 128).all(axis=1))[0]
    radiograph = pixels[top : top + 853].astype(int)
    cool, warm = radiograph[: 853 // 2 - 20, :480], radiograph[853 // 2 + 20 :, 540:]
    assert (cool == 128).all()
    assert (warm[..., 0] - warm[..., 2] > 30).mean() > 0.9


def test_notice_is_above_the_radiograph_and_the_result_below() -> None:
    pixels = draw_reading(READING, HEATMAP, IMAGE).astype(int)
    amber = (pixels[..., 0] > 200) & (pixels[..., 1] > 140) & (pixels[..., 2] < 120)
    assert amber[:48].sum() > 1000
    normal = draw_reading(READING | {"decision": "normal"}, HEATMAP, IMAGE).astype(int)
    changed = np.flatnonzero((pixels != normal).any(axis=(1, 2)))
    assert changed.min() > 48 + 853


def test_label_note_is_shown_only_if_its_group_is_predicted() -> None:
    trust = {"label_trust": "Unreliable in a subset."}
    for reading, expected in ((READING, True), (READING | {"decision": "normal"}, False), (REJECTED, False)):
        plain, noted = (draw_reading({**reading, **more}, HEATMAP, IMAGE) for more in ({}, trust))
        assert (len(noted) > len(plain)) == expected


def test_heatmap_note_is_shown_only_with_a_heatmap() -> None:
    noted = READING | {"heatmap_trust": "Chance level."}
    assert len(draw_reading(noted, HEATMAP, IMAGE)) > len(draw_reading(READING, HEATMAP, IMAGE))
    np.testing.assert_array_equal(draw_reading(noted, None, IMAGE), draw_reading(READING, None, IMAGE))


def test_the_rate_of_false_positives_stands_beside_the_flag() -> None:
    noted = {"flag_trust": "False positive rate of the anomaly flag: nominal 5 %, measured 31 %."}
    assert (draw_reading(READING | noted, None, IMAGE) != draw_reading(READING, None, IMAGE)).any()
    np.testing.assert_array_equal(draw_reading(REJECTED | noted, None, IMAGE), draw_reading(REJECTED, None, IMAGE))
    assert (draw_reading(READING | {"anomalous": False}, None, IMAGE) != draw_reading(READING, None, IMAGE)).any()


def test_large_image_is_reduced_and_keeps_its_aspect() -> None:
    pixels = draw_reading(REJECTED, None, np.full((3000, 2400), 0.5, np.float32))
    gray = (pixels == 128).all(axis=2)
    assert (gray.sum(axis=0).max(), gray.sum(axis=1).max()) == (2048, 1638)


def test_many_findings_are_shown_as_their_most_probable_bars() -> None:
    labels = LabelSet(tuple(f"a finding with a long name, {number}" for number in range(20)), multi_label=True)
    shares = {f"p_{name}": number / 20 for number, name in enumerate(labels.classes)}
    reading = {**READING, **shares, "label_set": labels, "thresholds": dict.fromkeys(labels.classes, 0.5)}
    reading |= {"decision": "|".join(labels.classes[10:]), "explained": labels.classes[-1]}
    few = {**reading, **dict.fromkeys(list(shares)[:18])}
    assert len(draw_reading(reading, HEATMAP, IMAGE)) > len(draw_reading(few, HEATMAP, IMAGE))
