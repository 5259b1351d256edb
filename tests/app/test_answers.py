"""Summaries of predictions, and radiographs for browsers."""

import base64
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pneumoscope.app.answers import write_anomaly_trust, write_summary
from pneumoscope.app.images import convert_for_browser
from pneumoscope.data.image import load_gray
from pneumoscope.inference.model_set import SHIPPED_DIR, load_cards
from pneumoscope.inference.reading import Reading
from pneumoscope.io.results import Estimate
from pneumoscope.labels import LabelSet

LABELS = LabelSet(("healthy", "tumor", "fracture"), "healthy", {"injury": ("tumor", "fracture")})
OPEN = LabelSet(("healthy", "tumor", "fracture"), "healthy")
FINDINGS = LabelSet(("mass", "edema"), "No Finding", multi_label=True)


def make_reading(decision, *probabilities, labels=LABELS, width=0.03, reason=""):
    if not labels.multi_label:
        probabilities = (1 - sum(probabilities), *probabilities)
    scored = dict(zip(labels.scored, labels.score(np.array(probabilities, dtype=float)).tolist(), strict=True))
    intervals = {name: (max(value - width, 0), min(value + width, 1)) for name, value in scored.items()}
    values = {"probabilities": scored, "intervals": intervals} if decision != "rejected" else {}
    return Reading(
        "image.jpeg", "balanced", "0.1.0", decision=decision, reason=reason, in_distribution=not reason, **values
    )


DOUBT = "The image looks tilted. Most of the nearest reference cases are healthy."
SUMMARIES = (
    (LABELS, make_reading("injury", 0.7, 0.2), "The model predicts injury. The probability of injury is 90 % (95 % "
     "interval 87 to 93 %). Its likeliest class is tumor."),
    (LABELS, make_reading("injury", 0.2, 0.799, width=0.01), "The model predicts injury. The probability of injury is "
     "over 99 % (95 % interval 99 to 100 %). Its likeliest class is fracture."),
    (LABELS, make_reading("injury", 0.1, 0.38), "The model predicts injury. The probability of injury is 48 % (95 % "
     "interval 45 to 51 %), above the threshold of 45 %. Its likeliest class is fracture."),
    (LABELS, make_reading("injury", 0.48, 0.42), "The model predicts injury. The probability of injury is 90 % (95 % "
     "interval 87 to 93 %). Its likeliest classes are tumor and fracture, with similar probabilities."),
    (LABELS, make_reading("healthy", 0.3, 0.3), "The model predicts healthy. The probability of injury is 60 % (95 % "
     "interval 57 to 63 %), below the threshold of 70 %."),
    (LABELS, make_reading("healthy", 0.02, 0.02, width=0.001, reason="It looks unusual."), "The model predicts "
     "healthy. The probability of injury is 4 %. It looks unusual."),
    (LABELS, make_reading("uncertain", 0.3, 0.2, reason=DOUBT), "The model abstains. The probability of injury is 50 % "
     f"(95 % interval 47 to 53 %). {DOUBT}"),
    (LABELS, make_reading("rejected", 0.1, 0.1, reason="It looks upside down."), "The image was rejected and not "
     "classified. It looks upside down."),
    (LABELS, Reading("image.jpeg", "balanced", "0.1.0", error="12 x 12 pixels."), "The file could not be read as a "
     "radiograph: 12 x 12 pixels."),
    (OPEN, make_reading("tumor", 0.7, 0.2, labels=OPEN), "The model predicts tumor. The probability of abnormal is "
     "90 % (95 % interval 87 to 93 %)."),
    (FINDINGS, make_reading("mass|edema", 0.7, 0.5, labels=FINDINGS), "The model predicts mass (70 %), edema (50 %)."),
    (FINDINGS, make_reading("mass", 0.7, 0.8, labels=FINDINGS), "The model predicts mass. Its probability is 70 % (95 "
     "% interval 67 to 73 %)."),
    (FINDINGS, make_reading("No Finding", 0.1, 0.2, labels=FINDINGS), "The model predicts No Finding. The likeliest is "
     "edema with 20 % (95 % interval 17 to 23 %)."),
)  # fmt: skip


@pytest.mark.parametrize(("labels", "reading", "summary"), SUMMARIES)
def test_a_reading_is_summarized(labels, reading, summary):
    thresholds = {str(labels.positive): 0.7 if reading.decision == "healthy" else 0.45}

    assert write_summary(reading, labels, thresholds) == summary


def test_images_that_browsers_cannot_show_are_converted(encode):
    deep = np.linspace(0, 65535, 2100 * 20).reshape(20, 2100).astype(np.uint16)
    shallow = encode((deep >> 8).astype(np.uint8))

    address = convert_for_browser(encode(deep), load_gray(encode(deep)))

    assert address is not None
    image = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))
    assert (image.mode, image.width) == ("L", 2048)
    assert convert_for_browser(shallow, load_gray(shallow)) is None


@pytest.mark.parametrize(
    ("auroc", "text"),
    [
        (Estimate(0.24, 0.18, 0.29, 319), "no evidence against injury"),
        (Estimate(0.52, 0.45, 0.58, 319), "no better than chance"),
        (Estimate(0.92, 0.9, 0.94, 319), "AUROC 0.92 (95 % CI 0.90 to 0.94), test set, n = 319."),
        (Estimate(0.9, math.nan, math.nan, 3), "too small for an interval"),
    ],
)
def test_trust_in_the_anomaly_score_follows_its_auroc(auroc, text):
    card = replace(load_cards(SHIPPED_DIR).anomaly, metrics={"test": {"auroc": auroc}})
    assert text in write_anomaly_trust(card, "injury")
