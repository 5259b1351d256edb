from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from pneumoscope.evaluation.localization import evaluate_maps  # noqa: E402
from pneumoscope.radiographs.phantoms import phantom_dataset  # noqa: E402
from pneumoscope.radiographs.splits import split_dataset  # noqa: E402
from pneumoscope.tasks.anomaly.detector import Detector  # noqa: E402
from pneumoscope.tasks.anomaly.distillation import fit_distillation  # noqa: E402
from pneumoscope.tasks.anomaly.features import FeatureSource, build_source  # noqa: E402
from pneumoscope.tasks.anomaly.gaussian import fit_mahalanobis, fit_padim  # noqa: E402
from pneumoscope.tasks.anomaly.learning import prepare_nets  # noqa: E402
from pneumoscope.tasks.anomaly.lesion_net import LesionNetSettings, fit_lesion_net  # noqa: E402
from pneumoscope.tasks.anomaly.patchcore import PatchcoreSettings, choose_coreset, fit_patchcore  # noqa: E402
from pneumoscope.tasks.anomaly.pretraining import build_encoder, pretrain_source  # noqa: E402
from pneumoscope.tasks.anomaly.protocol import Normals, select_normals  # noqa: E402
from pneumoscope.tasks.anomaly.redrawing import fit_denoising, fit_variational  # noqa: E402

SIZE = 64
TINY = ((8, 2, 1), (16, 2, 2), (24, 2, 2))
LAYERS = ("stage_2_2", "stage_1_2", "stage_3_2")
REMEMBERED = 150

Fit = Callable[[Normals, FeatureSource, Path], Detector]


@pytest.fixture(scope="module")
def normals() -> Normals:
    drawn = phantom_dataset(num_train=150, num_test=3, size=SIZE, seed=5)
    return select_normals(split_dataset(drawn, seed=0, val_share=0.25))


@pytest.fixture(scope="module")
def source() -> FeatureSource:
    prepare_nets(0, precision="float32")
    return build_source("random", build_encoder(SIZE, TINY), LAYERS)


DETECTORS: dict[str, Fit] = {
    "mahalanobis": lambda normals, source, _: fit_mahalanobis(source, normals.train.images),
    "padim": lambda normals, source, _: fit_padim(source, normals.train.images, num_channels=20),
    "patchcore": lambda normals, source, _: fit_patchcore(
        source, normals.train.images, settings=PatchcoreSettings(num_remembered=REMEMBERED, num_candidates=1500)
    ),
    "distillation": lambda normals, source, out: fit_distillation(source, normals, out_dir=out, epochs=8),
    "denoising": lambda normals, _, out: fit_denoising(normals, out_dir=out, epochs=20),
    "variational": lambda normals, _, out: fit_variational(normals, out_dir=out, epochs=20),
    "self-supervised": lambda normals, _, out: fit_padim(
        pretrain_source(normals, out_dir=out, epochs=2, stages=TINY), normals.train.images, num_channels=20
    ),
    "lesion net": lambda normals, _, out: fit_lesion_net(
        normals, out_dir=out, settings=LesionNetSettings(epochs=16, stages=TINY, batch_size=8)
    ),
}


def draw_shape(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return images with a bright disk in the right lung, which no normal has, and where it is."""
    rows, columns = np.indices(images.shape[1:])
    disk = (rows - 30) ** 2 + (columns - 19) ** 2 < 8**2
    drawn = images.copy()
    drawn[:, disk] = np.maximum(drawn[:, disk], 190)
    return drawn, np.broadcast_to(disk, images.shape)


@pytest.mark.parametrize("name", DETECTORS)
def test_an_unseen_shape_is_odd_and_the_map_finds_it(
    name: str, normals: Normals, source: FeatureSource, tmp_path: Path
) -> None:
    detector = DETECTORS[name](normals, source, tmp_path)
    plain = normals.held_out.images
    drawn, masks = draw_shape(plain)
    usual, odd = detector.score(plain), detector.score(drawn)
    maps = detector.localize(drawn)
    found = evaluate_maps(maps, masks, patients=normals.held_out.table["patient"])

    assert usual.dtype == odd.dtype == maps.dtype == np.float32
    assert maps.shape == plain.shape
    assert (odd > usual).mean() > 0.9
    assert found["pixel_auroc"].value > 0.85
    assert detector.num_bytes > 0


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
