from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.errors import TrainingError  # noqa: E402
from pneumoscope.evaluation.localization import evaluate_maps  # noqa: E402
from pneumoscope.models.encoder import build_encoder  # noqa: E402
from pneumoscope.radiographs.phantoms import phantom_dataset  # noqa: E402
from pneumoscope.radiographs.splits import split_dataset  # noqa: E402
from pneumoscope.tasks.anomaly.detector import Detector  # noqa: E402
from pneumoscope.tasks.anomaly.distillation import fit_distillation  # noqa: E402
from pneumoscope.tasks.anomaly.features import (  # noqa: E402
    ENCODER_LAYERS,
    FeatureSource,
    build_source,
    embed_images,
    weigh_cells,
)
from pneumoscope.tasks.anomaly.mahalanobis import fit_mahalanobis, fit_padim  # noqa: E402
from pneumoscope.tasks.anomaly.kinds import kinds_settings, learn_kinds  # noqa: E402
from pneumoscope.tasks.anomaly.learning import prepare_nets  # noqa: E402
from pneumoscope.tasks.anomaly.lesion_net import LesionNetSettings, fit_lesion_net  # noqa: E402
from pneumoscope.tasks.anomaly.patchcore import PatchcoreSettings, choose_coreset, fit_patchcore  # noqa: E402
from pneumoscope.tasks.anomaly.pretraining import pretrain_source  # noqa: E402
from pneumoscope.tasks.anomaly.evaluation import Normals, select_normals, spoil_normals  # noqa: E402
from pneumoscope.tasks.anomaly.redrawing import fit_denoising, fit_variational  # noqa: E402

SIZE = 64
STEM = (4, 8)
TINY = ((8, 1, 1), (16, 1, 2), (24, 1, 2))
FEW = PatchcoreSettings(num_remembered=150, num_candidates=1500)


def draw_normals(size: int) -> Normals:
    drawn = phantom_dataset(num_train=150, num_test=3, size=size, seed=5)
    return select_normals(split_dataset(drawn, seed=0, val_share=0.25))


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pneumoscope.models.encoder.STEM", STEM)
        patch.setattr("pneumoscope.models.encoder.STAGES", TINY)
        yield


@pytest.fixture(scope="module")
def normals() -> Normals:
    return draw_normals(SIZE)


@pytest.fixture(scope="module")
def small_normals() -> Normals:
    return draw_normals(SIZE // 2)


@pytest.fixture(scope="module")
def source(tiny: None) -> FeatureSource:
    prepare_nets(0, precision="float32")
    return build_source("random", build_encoder(size=SIZE), ENCODER_LAYERS)


def draw_shape(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images with a checkered disk in the right lung, which no normal has, and where it is."""
    size = images.shape[1]
    rows, columns = np.indices(images.shape[1:])
    disk = (rows - 0.47 * size) ** 2 + (columns - 0.3 * size) ** 2 < (size / 8) ** 2
    drawn = images.copy()
    drawn[:, disk] = 230 * ((rows // 4 + columns // 4) % 2)[disk]
    return drawn, np.broadcast_to(disk, images.shape)


def check_oddness(detector: Detector, normals: Normals) -> None:
    """Make sure that an unseen shape is odd, and that the map finds it."""
    plain = normals.held_out.images
    drawn, masks = draw_shape(plain)
    usual, odd, maps = detector.score(plain), detector.score(drawn), detector.localize(drawn)

    assert usual.dtype == odd.dtype == maps.dtype == np.float32
    assert maps.shape == plain.shape
    assert (odd > usual).mean() > 0.9
    assert evaluate_maps(maps, masks, patients=normals.held_out.table["patient"])["pixel_auroc"].value > 0.8
    assert detector.num_bytes > 0


@pytest.mark.parametrize(
    "fit",
    [
        lambda source, images: fit_mahalanobis(source, images),
        lambda source, images: fit_padim(source, images, num_channels=20),
        lambda source, images: fit_patchcore(source, images, settings=FEW),
        lambda source, images: fit_patchcore(source, images, settings=replace(FEW, top_share=0.1)),
    ],
    ids=["mahalanobis", "padim", "patchcore", "patchcore_wide"],
)
def test_an_unseen_shape_is_far_from_the_patches_of_normals(
    fit: Callable[[FeatureSource, np.ndarray], Detector], normals: Normals, source: FeatureSource
) -> None:
    check_oddness(fit(source, normals.train.images), normals)


@pytest.mark.parametrize("fit", [fit_denoising, fit_variational])
def test_an_unseen_shape_is_not_redrawn(fit: Callable[..., Detector], small_normals: Normals, tmp_path: Path) -> None:
    check_oddness(fit(small_normals, out_dir=tmp_path, epochs=8, code=12), small_normals)


def test_a_student_fails_its_teacher_where_a_film_is_odd(small_normals: Normals, tmp_path: Path) -> None:
    source = pretrain_source(small_normals, out_dir=tmp_path, epochs=2)
    assert source.name == "self_supervised"
    detector = fit_distillation(source, small_normals, out_dir=tmp_path, epochs=4)
    plain = small_normals.held_out.images
    drawn, masks = draw_shape(plain)
    change = detector.localize(drawn) - detector.localize(plain)
    assert change[masks].mean() > 3 * np.abs(change[~masks].mean())
    assert detector.score(plain).shape == (len(plain),)


def test_memory_is_bounded_and_told(normals: Normals, source: FeatureSource) -> None:
    found = fit_patchcore(source, normals.train.images, settings=FEW)
    assert found.bank.shape == (FEW.num_remembered, 48)
    assert found.num_bytes == found.bank.nbytes + source.num_bytes
    with pytest.raises(ValueError, match="num_remembered 7 is expected to be 1 to num_candidates 6"):
        PatchcoreSettings(num_remembered=7, num_candidates=6)


def test_the_mean_patch_is_a_weighted_mean_of_cells(normals: Normals, source: FeatureSource) -> None:
    images = normals.held_out.images[:3]
    cells = source.net.predict(images[..., None].astype(np.float32), verbose=0)
    means = [np.einsum("hw,nhwc->nc", *pair) for pair in zip(weigh_cells(source), cells, strict=True)]
    np.testing.assert_allclose(np.concatenate(means, axis=1), embed_images(source, images), rtol=1e-3, atol=1e-4)


def test_a_layer_that_is_not_there_is_named(source: FeatureSource) -> None:
    with pytest.raises(TrainingError, match="random has no layer stage_9"):
        build_source("other", source.net, ["stage_9"])


def test_a_coreset_is_bounded_and_reaches_the_lonely_point() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 1, (500, 6)), [[40.0] * 6]]).astype(np.float32)
    chosen = choose_coreset(points, 10)
    spread, by_lot = (
        np.linalg.norm(points[:, None] - points[rows], axis=-1).min(axis=1).max() for rows in (chosen, np.arange(10))
    )
    assert len(set(chosen.tolist())) == 10
    assert 500 in chosen
    assert spread < by_lot


def test_a_net_taught_by_drawn_opacities_finds_new_ones(small_normals: Normals, tmp_path: Path) -> None:
    settings = LesionNetSettings(epochs=6, batch_size=4, learning_rate=3e-3, stem=STEM, stages=TINY, dropout=0)
    detector = fit_lesion_net(small_normals, out_dir=tmp_path, settings=settings)
    plain = small_normals.held_out
    copies = spoil_normals(plain, 0)
    drawn, masks = copies.images, copies.masks
    scores, maps = detector.score(drawn), detector.localize(drawn)
    assert (scores > detector.score(plain.images)).mean() > 0.7
    assert maps.shape == masks.shape and maps.min() >= 0 and maps.max() <= 1
    assert evaluate_maps(maps, masks, patients=plain.table["patient"])["pixel_auroc"].value > 0.8


def test_features_that_name_what_was_drawn_tell_normals_from_it(small_normals: Normals, tmp_path: Path) -> None:
    settings = replace(kinds_settings(8), learning_rate=5e-3, batch_size=4)
    source, curve = learn_kinds(small_normals, out_dir=tmp_path, settings=settings)
    detector = fit_mahalanobis(source, small_normals.train.images)
    plain = small_normals.held_out
    assert curve.loss[-1] < curve.loss[0]
    drawn = np.concatenate([detector.score(spoil_normals(plain, seed).images) for seed in range(4)])
    assert (drawn[:, None] > detector.score(plain.images)).mean() > 0.6
