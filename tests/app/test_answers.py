"""Readings as sentences, and radiographs for browsers."""

import base64
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pneumoscope.app.answers import write_anomaly_trust, write_sentence
from pneumoscope.app.pictures import draw_picture, measure_image
from pneumoscope.data.image import load_gray
from pneumoscope.inference.model_set import SHIPPED_DIR, load_cards
from pneumoscope.inference.reading import Reading
from pneumoscope.io.results import Estimate


def make_reading(decision, p_bacterial=0.0, p_viral=0.0, *, width=0.03, reason=""):
    pneumonia = p_bacterial + p_viral
    probabilities = {"normal": 1 - pneumonia, "bacterial": p_bacterial, "viral": p_viral, "pneumonia": pneumonia}
    intervals = {name: (max(value - width, 0), min(value + width, 1)) for name, value in probabilities.items()}
    values = {"probabilities": probabilities, "intervals": intervals} if decision != "rejected" else {}
    return Reading(
        "image.jpeg", "balanced", "0.1.0", decision=decision, reason=reason, in_distribution=not reason, **values
    )


DOUBT = "The image looks tilted. Most of the nearest reference cases are normal."
READINGS = (
    make_reading("pneumonia", 0.7, 0.2),
    make_reading("pneumonia", 0.2, 0.799, width=0.01),
    make_reading("pneumonia", 0.48, 0.42),
    make_reading("pneumonia", 0.1, 0.38),
    make_reading("normal", 0.02, 0.02),
    make_reading("normal", 0.2, 0.1),
    make_reading("normal", 0.3, 0.3),
    make_reading("normal", 0.02, 0.02, width=0.001, reason="The image looks unlike those of the training."),
    make_reading("uncertain", 0.3, 0.2, reason=DOUBT),
    make_reading("rejected", reason="The image looks upside down."),
    Reading("image.jpeg", "balanced", "0.1.0", error="12 x 12 pixels; expected sides of 16 or more"),
    Reading("image.jpeg", "balanced", "0.1.0", error="DICOM cut off: its pixels have no end"),
)
SENTENCES = """\
signs of pneumonia (probability 90 %, 87 to 93 %), more likely bacterial than viral.
signs of pneumonia (probability over 99 %, 99 to 100 %), more likely viral than bacterial.
signs of pneumonia (probability 90 %, 87 to 93 %), about as likely bacterial as viral.
possible signs of pneumonia (probability 48 %, 45 to 51 %, over the threshold of 45 %), \
more likely viral than bacterial.
no signs of pneumonia (probability of pneumonia 4 %, 1 to 7 %).
no clear signs of pneumonia (probability of pneumonia 30 %, 27 to 33 %).
some signs of pneumonia, but too few to call it so (probability 60 %, 57 to 63 %, under the threshold of 70 %).
no signs of pneumonia (probability of pneumonia 4 %), but the image looks unlike those of the training.
The models are uncertain about this image (probability of pneumonia 50 %, 47 to 53 %): the image looks tilted; \
most of the nearest reference cases are normal.
The models give no answer for this image: the image looks upside down.
This file could not be read as a radiograph: 12 x 12 pixels; expected sides of 16 or more.
This file could not be read as a radiograph: DICOM cut off: its pixels have no end.
"""


@pytest.mark.parametrize(("reading", "sentence"), list(zip(READINGS, SENTENCES.splitlines(), strict=True)))
def test_a_reading_is_one_sentence(reading, sentence):
    threshold = 0.7 if reading.decision == "normal" else 0.45

    assert write_sentence(reading, threshold=threshold).removeprefix("The models see ") == sentence


def test_size_and_picture_are_those_of_the_upright_image():
    lying = Image.fromarray(np.arange(20 * 40, dtype=np.uint8).reshape(20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    lying.save(stream, format="JPEG", exif=exif)

    assert measure_image(stream.getvalue()) == load_gray(stream.getvalue()).shape == (40, 20)
    assert draw_picture(stream.getvalue()) is None


def test_a_picture_is_made_of_images_that_browsers_cannot_show(encode):
    deep = np.linspace(0, 65535, 2100 * 20).reshape(20, 2100).astype(np.uint16)

    address = draw_picture(encode(deep))

    assert address is not None
    image = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))
    assert (image.mode, image.width) == ("L", 2048)
    assert draw_picture(encode((deep >> 8).astype(np.uint8))) is None


@pytest.mark.parametrize(
    ("auroc", "text"),
    [
        (Estimate(0.24, 0.18, 0.29, 319), "no evidence against pneumonia"),
        (Estimate(0.52, 0.45, 0.58, 319), "no better than chance"),
        (Estimate(0.92, 0.9, 0.94, 319), "is 0.92 (0.90 to 0.94)"),
        (Estimate(0.9, math.nan, math.nan, 3), "too few"),
    ],
)
def test_trust_in_the_anomaly_score_follows_its_auroc(auroc, text):
    assert text in write_anomaly_trust(replace(load_cards(SHIPPED_DIR).anomaly, metrics={"test": {"auroc": auroc}}))
