"""Readings in words, and radiographs as browsers are shown them."""

import base64
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pneumoscope.app.answers import write_anomaly_trust, write_sentence
from pneumoscope.app.pictures import draw_picture, measure_image
from pneumoscope.data.image import load_image
from pneumoscope.inference.model_set import SHIPPED_DIR, load_cards
from pneumoscope.inference.reading import Reading
from pneumoscope.io.results import Estimate


def as_png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def reading_of(decision, p_bacterial=0.0, p_viral=0.0, *, width=0.03, reason=""):
    sick = p_bacterial + p_viral
    shares = {"normal": 1 - sick, "bacterial": p_bacterial, "viral": p_viral, "pneumonia": sick}
    intervals = {name: (max(share - width, 0), min(share + width, 1)) for name, share in shares.items()}
    found = {"probabilities": shares, "intervals": intervals} if decision != "refused" else {}
    return Reading("film.jpeg", "balanced", "0.1.0", decision=decision, reason=reason, in_domain=not reason, **found)


@pytest.mark.parametrize(
    ("reading", "sentence"),
    [
        (
            reading_of("pneumonia", 0.7, 0.2),
            "The models see signs of pneumonia (probability 90 %, 87 to 93 %), more likely bacterial than viral.",
        ),
        (
            reading_of("pneumonia", 0.2, 0.799, width=0.01),
            "The models see signs of pneumonia (probability over 99 %, 99 to 100 %), more likely viral than bacterial.",
        ),
        (
            reading_of("pneumonia", 0.48, 0.42),
            "The models see signs of pneumonia (probability 90 %, 87 to 93 %), about as likely bacterial as viral.",
        ),
        (
            reading_of("normal", 0.02, 0.02),
            "The models see no signs of pneumonia (probability of pneumonia 4 %, 1 to 7 %).",
        ),
        (
            reading_of("normal", 0.2, 0.1),
            "The models see no clear signs of pneumonia (probability of pneumonia 30 %, 27 to 33 %).",
        ),
        (
            reading_of("normal", 0.3, 0.3),
            "The models see some signs of pneumonia, but too few to call it so "
            "(probability 60 %, 57 to 63 %, under the threshold of 70 %).",
        ),
        (
            reading_of("pneumonia", 0.1, 0.38),
            "The models see possible signs of pneumonia "
            "(probability 48 %, 45 to 51 %, over the threshold of 45 %), more likely viral than bacterial.",
        ),
        (
            reading_of("normal", 0.02, 0.02, width=0.001, reason="The film looks unlike those of the training."),
            "The models see no signs of pneumonia (probability of pneumonia 4 %), "
            "but the film looks unlike those of the training.",
        ),
        (
            reading_of(
                "not sure", 0.3, 0.2, reason="The film looks odd. Most of the nearest known images are normals."
            ),
            "The models are not sure about this image (probability of pneumonia 50 %, 47 to 53 %): "
            "the film looks odd; most of the nearest known images are normals.",
        ),
        (
            reading_of("refused", reason="The film looks upside down."),
            "The models give no answer for this image: the film looks upside down.",
        ),
        (
            Reading("film.jpeg", "balanced", "0.1.0", error="12 x 12 pixels; expected sides of 16 or more"),
            "This file could not be read as a radiograph: 12 x 12 pixels; expected sides of 16 or more.",
        ),
        (
            Reading("film.jpeg", "balanced", "0.1.0", error="DICOM cut off: its compressed pixels have no end"),
            "This file could not be read as a radiograph: DICOM cut off: its compressed pixels have no end.",
        ),
    ],
)
def test_a_reading_is_one_sentence(reading, sentence):
    threshold = 0.7 if reading.decision == "normal" else 0.45

    assert write_sentence(reading, threshold=threshold) == sentence


def test_the_size_and_the_picture_are_those_of_the_upright_film():
    lying = Image.fromarray(np.arange(20 * 40, dtype=np.uint8).reshape(20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    lying.save(stream, format="JPEG", exif=exif)

    assert measure_image(stream.getvalue()) == (40, 20)
    assert load_image(stream.getvalue()).shape == (40, 20)
    assert draw_picture(stream.getvalue()) is None


def test_a_picture_is_made_of_what_browsers_cannot_show():
    deep = np.linspace(0, 65535, 2100 * 20).reshape(20, 2100).astype(np.uint16)

    shown = draw_picture(as_png(deep))

    assert shown is not None
    image = Image.open(io.BytesIO(base64.b64decode(shown.removeprefix("data:image/png;base64,"))))
    assert (image.mode, image.width) == ("L", 2048)
    assert draw_picture(as_png((deep >> 8).astype(np.uint8))) is None


@pytest.mark.parametrize(
    ("figure", "told"),
    [
        (Estimate(0.24, 0.18, 0.29, 319), "says nothing against one"),
        (Estimate(0.52, 0.45, 0.58, 319), "no better than chance"),
        (Estimate(0.92, 0.9, 0.94, 319), "is 0.92 (0.90 to 0.94)"),
        (Estimate(0.9, math.nan, math.nan, 3), "too few"),
    ],
)
def test_the_anomaly_score_is_trusted_as_far_as_it_was_measured(figure, told):
    assert told in write_anomaly_trust(replace(load_cards(SHIPPED_DIR).anomaly, figures={"test": {"auroc": figure}}))
