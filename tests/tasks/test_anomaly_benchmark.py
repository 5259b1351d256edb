from dataclasses import replace

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.archive import load_result, save_result  # noqa: E402
from pneumoscope.errors import TrainingError  # noqa: E402
from pneumoscope.evaluation.localization import evaluate_maps  # noqa: E402
from pneumoscope.radiographs.dataset import Dataset  # noqa: E402
from pneumoscope.radiographs.phantoms import phantom_dataset  # noqa: E402
from pneumoscope.radiographs.splits import split_dataset  # noqa: E402
from pneumoscope.results import BINARY_CLASSES  # noqa: E402
from pneumoscope.tasks.anomaly import registry as methods  # noqa: E402
from pneumoscope.tasks.anomaly.benchmark import ENSEMBLE, benchmark_anomaly  # noqa: E402
from pneumoscope.tasks.anomaly.ensemble import rank_among_normals  # noqa: E402
from pneumoscope.tasks.anomaly.registry import Means, Method  # noqa: E402
from pneumoscope.tasks.anomaly.evaluation import choose_threshold, select_normals, spoil_normals  # noqa: E402


class Darkness:
    """A detector that takes dark pixels for odd: nothing to be learned, and quick."""

    num_bytes = 8

    def __init__(self, mean: float) -> None:
        self.mean = mean

    def score(self, images: np.ndarray) -> np.ndarray:
        return self.localize(images).mean(axis=(1, 2))

    def localize(self, images: np.ndarray) -> np.ndarray:
        return (self.mean - images.astype(np.float32)) / 255


def fit_darkness(normals, means):
    return Darkness(float(normals.train.images.mean()))


def fail(normals, means):
    raise TrainingError("the autoencoder is dead")


@pytest.fixture
def dataset() -> Dataset:
    return split_dataset(phantom_dataset(num_train=60, num_test=18, size=32, seed=2), seed=0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace all methods by quick ones; return the names of those that were fitted, which grows."""
    fitted = []

    def count(name):
        def fit(normals, means):
            fitted.append(name)
            return fit_darkness(normals, means)

        return fit

    known = {
        "dark": Method(count("dark"), "Dark is odd."),
        "dark_too": Method(count("dark_too"), "Dark is odd, again."),
        "dead": Method(fail, "Never told."),
        "sick": Method(count("sick"), "Has seen sick images.", "flagship"),
    }
    monkeypatch.setattr("pneumoscope.tasks.anomaly.benchmark.METHODS", known)
    return fitted


def test_every_method_gets_a_row_and_what_is_done_is_not_done_again(quick, dataset, tmp_path) -> None:
    found = benchmark_anomaly(dataset, Means(tmp_path, flagship=tmp_path), num_seeds=2)

    assert quick == ["dark", "dark", "dark_too", "dark_too", "sick", "sick"]
    assert found.table.figures["dead"] == {} and "is dead" in found.table.remarks["dead"]
    figures = found.table.figures["dark"]
    assert figures["auroc_sd"].value == 0 and figures["megabytes"].value == 8e-6
    assert {"pixel_auroc", "pro", "pro_drawn", "flagged_viral", "accuracy", "f1", "seconds_per_image"} <= set(figures)
    assert "sick" not in found.table.remarks[ENSEMBLE]
    save_result(found, tmp_path / "all.npz")
    kept = load_result(tmp_path / "all.npz")
    assert kept.table.remarks == found.table.remarks and kept.table.columns == found.table.columns
    assert kept.detections["dark"].metrics["accuracy"] == figures["accuracy"]

    again = benchmark_anomaly(dataset, Means(tmp_path), num_seeds=2)
    assert len(quick) == 6
    assert set(again.table.figures) == {"dark", "dark_too", "dead", ENSEMBLE}
    other = benchmark_anomaly(dataset, Means(tmp_path), methods=["dark"], false_alarm_rate=0.2)
    assert "other settings or data" in other.table.remarks["dark"]


def test_no_pneumonia_moves_a_threshold(quick, dataset, tmp_path) -> None:
    garbage = np.random.default_rng(0).integers(0, 256, dataset.images.shape, dtype=np.uint8)
    sick = dataset.labels(BINARY_CLASSES) == 1
    spoiled = replace(dataset, images=np.where(sick[:, None, None], garbage, dataset.images))
    sound, other = (
        benchmark_anomaly(data, Means(tmp_path / name), methods=["dark", "dark_too"]).detections
        for name, data in (("sound", dataset), ("garbage", spoiled))
    )
    assert {name: found.threshold for name, found in sound.items()} == {
        name: found.threshold for name, found in other.items()
    }
    assert not np.array_equal(sound["dark"].scores, other["dark"].scores)


def test_means_that_are_missing_are_named(quick, dataset, tmp_path) -> None:
    with pytest.raises(TrainingError, match="sick cannot be made without flagship"):
        benchmark_anomaly(dataset, Means(tmp_path), methods=["sick"])
    with pytest.raises(TrainingError, match="there is no method bright; expected some of dark"):
        benchmark_anomaly(dataset, Means(tmp_path), methods=["bright"])


def test_only_what_needs_the_flagship_has_seen_sick_images() -> None:
    for name, method in methods.METHODS.items():
        assert (method.needs == "flagship") == name.endswith("_flagship") == ("seen sick" in method.remark)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
def test_a_threshold_keeps_its_promise_on_new_normals(rate: float) -> None:
    rng = np.random.default_rng(0)
    flagged = [(rng.normal(size=200) >= choose_threshold(rng.normal(size=60), rate)).mean() for _ in range(400)]
    assert rate - 0.025 < np.mean(flagged) <= rate + 0.005


def test_ranks_grow_beyond_all_normals() -> None:
    held_out = np.random.default_rng(0).normal(size=50)
    scores = np.linspace(-5, 9, 40)
    ranks = rank_among_normals(held_out, scores)
    inside = scores >= held_out.min()
    assert (np.diff(ranks[inside]) > 0).all()
    assert ranks[~inside].max(initial=0) == 0


def test_drawn_opacities_brighten_what_their_masks_name(dataset) -> None:
    normals = select_normals(dataset).held_out
    copies = spoil_normals(normals, 0)
    masks, change = copies.masks, copies.images.astype(int) - normals.images
    assert masks.any(axis=(1, 2)).mean() > 0.8
    assert change[masks].mean() > 5 * np.abs(change[~masks]).mean()
    np.testing.assert_array_equal(copies.images, spoil_normals(normals, 0).images)


def test_maps_by_chance_find_nothing_and_true_ones_all() -> None:
    rng = np.random.default_rng(0)
    masks = np.zeros((40, 24, 24), bool)
    masks[:, 4:9, 5:10] = True
    masks[::2, 15:17, 15:20] = True
    patients = np.arange(40).astype(str)
    blind = evaluate_maps(rng.random(masks.shape), masks, patients=patients)
    assert blind["pixel_auroc"].value == pytest.approx(0.5, abs=0.03)
    assert blind["pro"].value == pytest.approx(0.15, abs=0.03)
    # A map of the large regions alone finds 40 of 60 regions.
    large = np.where(np.indices(masks.shape)[1] < 12, masks, False) + 0.01 * rng.random(masks.shape)
    assert evaluate_maps(large, masks, patients=patients)["pro"].value == pytest.approx(2 / 3 + 1 / 3 * 0.15, abs=0.03)
