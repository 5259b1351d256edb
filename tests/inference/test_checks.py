"""Population and training images: who is rejected, who is flagged, and what is recorded."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pneumoscope.data.decode import DecodedImage
from pneumoscope.data.duplicates import hash_images
from pneumoscope.data.identity import Identity
from pneumoscope.data.remarks import WARNINGS
from pneumoscope.inference.checks import TRAINING_NOTES
from pneumoscope.inference.model_set import load_model_set
from pneumoscope.inference.reader import Reader
from pneumoscope.phantoms.phantom import draw_phantoms


@pytest.fixture(scope="module")
def models():
    return load_model_set(num_threads=1)


@pytest.fixture(scope="module")
def pixels():
    return draw_phantoms(1, size=192, seed=4).images[0]


def read(models, pixels, *, ignore_population=False, **options):
    reader = Reader(models, ignore_population=ignore_population)
    (reading,) = reader.predict_decoded([DecodedImage(pixels, **options)], ["x.dcm"])
    assert set(reading.warnings) <= set(WARNINGS)
    return reading


@pytest.mark.parametrize(
    ("identity", "named"),
    [(Identity(age_years=62.0), "age"), (Identity(age_years=0.5), "age"), (Identity(view="PA"), "view")],
)
def test_patients_outside_of_the_population_are_rejected(models, pixels, identity, named):
    reading = read(models, pixels, identity=identity)
    assert (reading.decision, reading.in_distribution, dict(reading.probabilities)) == ("rejected", False, {})
    assert f"The {named} is outside of the population of the training images" in reading.reason

    anyway = read(models, pixels, identity=identity, ignore_population=True)
    assert anyway.decision != "rejected" and anyway.in_distribution is False
    assert f"The {named} is outside" in anyway.reason and anyway.warnings == ("population_ignored",)


@pytest.mark.parametrize("identity", [Identity(), Identity(age_years=5.9, view="AP"), Identity(view="LL")])
def test_others_are_not(models, pixels, identity):
    reading = read(models, pixels, identity=identity)
    assert "population" not in reading.reason and reading.warnings == ()


def test_a_training_image_is_named(models, pixels):
    reading = read(models, pixels, sha256=str(models.references.sha256[0]))
    assert TRAINING_NOTES["training_image"] in reading.reason and reading.warnings == ("training_image",)
    other = read(models, pixels, sha256="0" * 64)
    assert "trained" not in other.reason and other.warnings == ()


def test_a_copy_of_a_training_image_is_named(models, pixels):
    hashes = models.references.hashes.copy()
    hashes[7] = hash_images(pixels[None])
    models = replace(models, references=replace(models.references, hashes=hashes))
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((300, 300)).save(stream, "JPEG", quality=60)

    copy = read(models, np.asarray(Image.open(stream).resize(pixels.shape)))
    assert copy.warnings == ("training_image_copy",) and TRAINING_NOTES["training_image_copy"] in copy.reason
    assert read(models, pixels, sha256=str(models.references.sha256[0])).warnings == ("training_image",)
    assert read(models, pixels[:, ::-1].copy()).warnings == ()
