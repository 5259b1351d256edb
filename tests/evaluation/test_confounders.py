"""Confounders are seen where they are: a classifier of lungs, one of letters, one of the frame."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pneumoscope.errors import CollectionError
from pneumoscope.evaluation.confounders import hide, measure_confounders
from pneumoscope.evaluation.pixel_baselines import describe_pixels, fit_pixel_baseline
from pneumoscope.io.results import Confounders
from pneumoscope.phantoms.phantom import phantom_dataset

LETTER = (slice(None), slice(10, 18), slice(4, 9))
MIRRORED = (slice(10, 18), slice(-9, -4))


def answer(sick_scores):
    """Return probabilities of three classes out of one score a film in [0, 1]."""
    sick = np.clip(sick_scores, 0, 1)
    return np.stack([1 - sick, 0.6 * sick, 0.4 * sick], axis=1)


def read_letters(films):
    return answer(films[LETTER].mean(axis=(1, 2)) / 255)


def read_frame(films):
    return answer(films[:, -4:].mean(axis=(1, 2)) / 255)


def read_middle(films):
    """Compare the outer parts of both lungs with the gray level of all."""
    lungs = films[:, 40:85, 26:44].mean(axis=(1, 2)) + films[:, 40:85, 84:102].mean(axis=(1, 2))
    return answer(0.5 + (lungs / 2 - films.mean(axis=(1, 2))) / 255)


@pytest.fixture(scope="module")
def dataset():
    """Return phantoms as bright on the whole, whose pneumonias have a letter at the left and a bright frame below."""
    drawn = phantom_dataset(num_train=60, num_test=45, seed=8)
    films, sick = drawn.images.copy() // 2, drawn.table["label"].to_numpy() == "pneumonia"
    for film, is_sick in zip(films, sick, strict=True):
        film[LETTER[1:] if is_sick else MIRRORED] = 250
        film[:4], film[-4:] = (20, 120) if is_sick else (120, 20)
        film[:] = np.clip(film + 60.0 - film.mean(), 0, 255)
    return replace(drawn, images=films)


@pytest.fixture(scope="module")
def of_letters(dataset):
    return measure_confounders(read_letters, dataset, threshold=0.6)


def test_a_reader_of_letters_fails_without_them(of_letters):
    assert of_letters.figures["untouched"]["auroc"].value > 0.99
    assert of_letters.figures["markers_hidden"]["auroc"].value < 0.85
    assert of_letters.differences["markers_hidden"]["accuracy"].high < 0
    assert of_letters.differences["lungs_hidden"]["auroc"].value == pytest.approx(0, abs=0.02)
    assert of_letters.figures["lungs_hidden"]["auroc"].value > 0.95


def test_a_reader_of_the_frame_fails_without_it(dataset):
    found = measure_confounders(read_frame, dataset, threshold=0.3)

    assert found.figures["untouched"]["accuracy"].value == 1
    assert found.figures["borders_hidden"]["auroc"].value < 0.7
    assert found.differences["markers_hidden"]["auroc"].value == 0


def test_a_reader_of_lungs_needs_the_lungs():
    drawn = phantom_dataset(num_train=3, num_test=45, seed=8)
    found = measure_confounders(read_middle, drawn, threshold=0.5)
    told = found.figures["untouched"]["auroc"].value - 0.5

    assert abs(told) > 0.15
    assert abs(found.figures["lungs_hidden"]["auroc"].value - 0.5) < abs(told)
    assert found.figures["lungs_only"]["auroc"].value - 0.5 == pytest.approx(told, abs=0.15)


def test_the_frame_alone_tells_what_was_put_there(of_letters):
    assert set(of_letters.trivial) == {"exposure", "histogram", "borders"}
    assert of_letters.trivial["borders"]["auroc"].value > 0.95


def test_series_are_told_apart_by_name(of_letters, dataset):
    assert set(of_letters.series) == {"IM", "person"}
    assert of_letters.series["person"]["flagged"].value > 0.9 > 0.1 > of_letters.series["IM"]["flagged"].value
    assert of_letters.series["person"]["markers"].value > 0.8
    assert sum(found["exposure"].n for found in of_letters.series.values()) == len(dataset.rows("test"))


def test_every_figure_has_an_interval_and_what_was_hidden_is_told(of_letters):
    for figures in (*of_letters.figures.values(), *of_letters.differences.values(), *of_letters.trivial.values()):
        assert set(figures) == {"auroc", "accuracy", "three_class_accuracy"}
        for figure in figures.values():
            assert figure.low <= figure.value <= figure.high
    hidden = {name: share.value for name, share in of_letters.hidden.items()}
    assert hidden["lungs_only"] + hidden["lungs_hidden"] == pytest.approx(1)
    assert 0.9 > hidden["lung_area_hidden"] > hidden["lungs_hidden"]
    assert hidden["borders_hidden"] == pytest.approx(1 - 0.8**2, abs=0.02)


def test_unknown_subtypes_leave_out_the_three_classes(dataset):
    unknown = replace(dataset, table=dataset.table.assign(subtype="unknown"))

    found = measure_confounders(read_letters, unknown, threshold=0.6)

    assert set(found.figures["untouched"]) == set(found.trivial["borders"]) == {"auroc", "accuracy"}


def test_what_is_hidden_takes_the_mean_gray_level():
    films = np.array([[[0, 100], [200, 100]]], np.uint8)

    hidden = hide(films, np.array([[[True, False], [False, True]]]))

    np.testing.assert_array_equal(hidden, [[[100, 100], [200, 100]]])


def test_sizes_of_files_tell_where_they_differ(dataset, tmp_path):
    part = dataset.select(np.arange(60))
    sick = part.table["label"].to_numpy() == "pneumonia"
    paths = [tmp_path / f"{number}.png" for number in range(len(part))]
    for path, wide in zip(paths, sick, strict=True):
        Image.new("L", (40 if wide else 30, 30)).save(path)
    filed = replace(part, table=part.table.assign(path=list(map(str, paths))))

    features = describe_pixels(filed)["file_size"]
    probabilities, threshold = fit_pixel_baseline(features, filed, split="train")

    np.testing.assert_array_equal(1 - probabilities[:, 0] >= threshold, sick)


def test_impossible_requests_are_refused(dataset, of_letters):
    with pytest.raises(CollectionError, match="holds no image"):
        measure_confounders(read_letters, dataset, threshold=0.5, split="elsewhere")
    with pytest.raises(ValueError, match="score gave"):
        measure_confounders(lambda films: np.zeros((len(films), 2)), dataset, threshold=0.5)
    healthy = dataset.select(dataset.table["label"].to_numpy() == "normal")
    with pytest.raises(CollectionError, match="one class"):
        fit_pixel_baseline(healthy.images.mean(axis=(1, 2))[:, None], healthy, split="test")
    with pytest.raises(ValueError, match="the same others"):
        Confounders(**{**vars(of_letters), "hidden": {}})
