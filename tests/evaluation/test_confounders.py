"""Confounders: classifiers that use the lungs, the letters or the borders are distinguished."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pneumoscope.errors import CollectionError, PneumoscopeError
from pneumoscope.evaluation.confounders import hide, measure_confounders
from pneumoscope.evaluation.pixel_baselines import describe_pixels, fit_pixel_baseline
from pneumoscope.phantoms.phantom import phantom_dataset

LETTER = (slice(None), slice(10, 18), slice(4, 9))
MIRRORED = (slice(10, 18), slice(-9, -4))


def to_probabilities(scores):
    scores = np.clip(scores, 0, 1)
    return np.stack([1 - scores, 0.6 * scores, 0.4 * scores], axis=1)


def predict_by_letters(images):
    return to_probabilities(images[LETTER].mean(axis=(1, 2)) / 255)


def predict_by_borders(images):
    return to_probabilities(images[:, -4:].mean(axis=(1, 2)) / 255)


def predict_by_lungs(images):
    """Compare the outer parts of both lungs with the gray level of all."""
    lungs = images[:, 40:85, 26:44].mean(axis=(1, 2)) + images[:, 40:85, 84:102].mean(axis=(1, 2))
    return to_probabilities(0.5 + (lungs / 2 - images.mean(axis=(1, 2))) / 255)


@pytest.fixture(scope="module")
def dataset():
    """Return phantoms of equal exposure, whose pneumonias have a letter at the left and a bright lower border."""
    phantoms = phantom_dataset(num_train=60, num_test=45, seed=8)
    images, positive = phantoms.images.copy() // 2, phantoms.table["label"].to_numpy() != "normal"
    for image, is_positive in zip(images, positive, strict=True):
        image[LETTER[1:] if is_positive else MIRRORED] = 250
        image[:4], image[-4:] = (20, 120) if is_positive else (120, 20)
        image[:] = np.clip(image + 60.0 - image.mean(), 0, 255)
    return replace(phantoms, images=images)


@pytest.fixture(scope="module")
def of_letters(dataset):
    return measure_confounders(predict_by_letters, dataset, threshold=0.6)


def test_a_classifier_of_letters_fails_without_them(of_letters):
    assert of_letters.metrics["untouched"]["auroc"].value > 0.99
    assert of_letters.metrics["markers_hidden"]["auroc"].value < 0.85
    assert of_letters.differences["markers_hidden"]["accuracy"].high < 0
    assert of_letters.differences["lungs_hidden"]["auroc"].value == pytest.approx(0, abs=0.02)


def test_a_classifier_of_borders_fails_without_them(dataset):
    result = measure_confounders(predict_by_borders, dataset, threshold=0.3)

    assert result.metrics["untouched"]["accuracy"].value == 1
    assert result.metrics["borders_hidden"]["auroc"].value < 0.7
    assert result.differences["markers_hidden"]["auroc"].value == 0


def test_a_classifier_of_lungs_needs_the_lungs():
    phantoms = phantom_dataset(num_train=3, num_test=45, seed=8)
    metrics = measure_confounders(predict_by_lungs, phantoms, threshold=0.5).metrics
    skill = metrics["untouched"]["auroc"].value - 0.5

    assert abs(skill) > 0.15
    assert abs(metrics["lungs_hidden"]["auroc"].value - 0.5) < abs(skill)
    assert metrics["lungs_only"]["auroc"].value - 0.5 == pytest.approx(skill, abs=0.15)


def test_pixel_baselines_see_the_borders(of_letters):
    assert set(of_letters.pixel_baselines) == {"exposure", "histogram", "borders"}
    assert of_letters.pixel_baselines["borders"]["auroc"].value > 0.95


def test_every_metric_has_an_interval_and_hidden_shares_add_up(of_letters):
    for metrics in (*of_letters.metrics.values(), *of_letters.differences.values()):
        assert set(metrics) == {"auroc", "accuracy", "classes_accuracy"}
        assert all(metric.low <= metric.value <= metric.high for metric in metrics.values())
    hidden = {name: share.value for name, share in of_letters.hidden.items()}
    assert hidden["lungs_only"] + hidden["lungs_hidden"] == pytest.approx(1)
    assert 0.9 > hidden["lung_area_hidden"] > hidden["lungs_hidden"]
    assert hidden["borders_hidden"] == pytest.approx(1 - 0.8**2, abs=0.02)


def test_without_known_classes_there_is_no_accuracy_of_all_classes(dataset):
    labels = dataset.table["label"].where(dataset.table["label"] == "normal", "pneumonia")
    result = measure_confounders(
        predict_by_letters, replace(dataset, table=dataset.table.assign(label=labels)), threshold=0.6
    )

    assert set(result.metrics["untouched"]) == set(result.pixel_baselines["borders"]) == {"auroc", "accuracy"}


def test_hidden_pixels_take_the_mean_gray_level():
    hidden = hide(np.array([[[0, 100], [200, 100]]], np.uint8), np.array([[[True, False], [False, True]]]))

    np.testing.assert_array_equal(hidden, [[[100, 100], [200, 100]]])


def test_file_sizes_are_a_baseline_where_they_differ(dataset, tmp_path):
    part = dataset.select(np.arange(60))
    positive = part.table["label"].to_numpy() != "normal"
    paths = [tmp_path / f"{number}.png" for number in range(len(part))]
    for path, wide in zip(paths, positive, strict=True):
        Image.new("L", (40 if wide else 30, 30)).save(path)
    files = replace(part, table=part.table.assign(path=list(map(str, paths))))

    probabilities, threshold = fit_pixel_baseline(describe_pixels(files)["file_size"], files, split="train")

    np.testing.assert_array_equal(1 - probabilities[:, 0] >= threshold, positive)


def test_invalid_arguments_are_errors(dataset):
    with pytest.raises(CollectionError, match="contains no image"):
        measure_confounders(predict_by_letters, dataset, threshold=0.5, split="elsewhere")
    with pytest.raises(PneumoscopeError, match="expected \\(45, 3\\) probabilities"):
        measure_confounders(lambda images: np.zeros((len(images), 2)), dataset, threshold=0.5)
    normals = dataset.select(dataset.table["label"].to_numpy() == "normal")
    with pytest.raises(CollectionError, match="one class"):
        fit_pixel_baseline(normals.images.mean(axis=(1, 2))[:, None], normals, split="test")
