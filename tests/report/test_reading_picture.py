"""The image of a prediction: radiograph, heatmap, notice and result."""

from typing import Any

import numpy as np

from pneumoscope.report.reading_picture import draw_reading

READING: dict[str, Any] = {
    "decision": "pneumonia",
    "operating_point": "balanced",
    "reason": None,
    "model": "default-3f2a9c41",
    "p_normal": 0.07,
    "p_bacterial": 0.71,
    "p_viral": 0.22,
    "p_pneumonia": 0.93,
    "anomaly_percentile": 97.3,
}
PROBABILITIES = ("p_normal", "p_bacterial", "p_viral", "p_pneumonia", "anomaly_percentile")
REFUSED: dict[str, Any] = {**READING, **dict.fromkeys(PROBABILITIES), "decision": "rejected", "reason": "Lateral view."}


def draw_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Return a heatmap with one hot quarter, and a gray picture."""
    heatmap = np.zeros((80, 96), np.float32)
    heatmap[40:, 48:] = 1
    return heatmap, np.full((80, 96), 0.5, np.float32)


def test_picture_is_large_and_warm_where_the_heatmap_is() -> None:
    heatmap, picture = draw_arrays()
    pixels = draw_reading(READING, heatmap, picture)
    assert pixels.dtype == np.uint8 and pixels.shape[1] == 1024 and pixels.shape[2] == 3
    top = np.flatnonzero((pixels[:, 5] == 128).all(axis=1))[0]
    radiograph = pixels[top : top + 853].astype(int)
    cool, warm = radiograph[: 853 // 2 - 20, :480], radiograph[853 // 2 + 20 :, 540:]
    assert (cool == 128).all()
    assert (warm[..., 0] - warm[..., 2] > 30).mean() > 0.9


def test_notice_is_above_the_radiograph_and_the_result_below() -> None:
    heatmap, picture = draw_arrays()
    pixels = draw_reading(READING, heatmap, picture).astype(int)
    amber = (pixels[..., 0] > 200) & (pixels[..., 1] > 140) & (pixels[..., 2] < 120)
    assert amber[:48].sum() > 1000
    normal = draw_reading(READING | {"decision": "normal"}, heatmap, picture).astype(int)
    changed = np.flatnonzero((pixels != normal).any(axis=(1, 2)))
    assert changed.min() > 48 + 853


def test_subtype_note_stands_only_with_probabilities() -> None:
    heatmap, picture = draw_arrays()
    trust = {"subtype_trust": "Unreliable in a subset."}
    for reading, expected in ((READING, True), (REFUSED, False)):
        plain, noted = (draw_reading({**reading, **more}, heatmap, picture) for more in ({}, trust))
        assert (len(noted) > len(plain)) == expected


def test_heatmap_note_stands_only_with_a_heatmap() -> None:
    heatmap, picture = draw_arrays()
    plain, noted = (
        draw_reading({**READING, "heatmap_trust": trust}, heatmap, picture) for trust in ("", "A hint, not a proof.")
    )
    assert len(noted) > len(plain)
    without = draw_reading({**READING, "heatmap_trust": "A hint, not a proof."}, None, picture)
    np.testing.assert_array_equal(without, draw_reading(READING, None, picture))


def test_large_picture_is_reduced_and_keeps_its_aspect() -> None:
    pixels = draw_reading(REFUSED, None, np.full((3000, 2400), 0.5, np.float32))
    gray = (pixels == 128).all(axis=2)
    assert (gray.sum(axis=0).max(), gray.sum(axis=1).max()) == (2048, 1638)
