"""A net that learned from normals alone to name what was drawn into them: features that notice sickness.

After C.-L. Li, K. Sohn, J. Yoon and T. Pfister, "CutPaste: Self-Supervised Learning for Anomaly Detection and
Localization", CVPR 2021: what the net answers is of little use, since real sickness is not what was drawn, but normals
lie close together in its features.
"""

from pathlib import Path

import numpy as np

from pneumoscope.models.settings import TrainingSettings
from pneumoscope.radiographs.lungs import find_lungs
from pneumoscope.results import LearningCurve
from pneumoscope.tasks.anomaly.features import ENCODER_LAYERS, FeatureSource, build_source
from pneumoscope.tasks.anomaly.learning import EXPOSURES, normals_settings, prepare_nets, train_on_normals
from pneumoscope.tasks.anomaly.evaluation import Normals
from pneumoscope.tasks.anomaly.synthetic_anomalies import KINDS, SpoilSettings, spoil_images

EPOCHS = 8
SOURCE_NAME = "drawn_kinds"
COPIES = 2  # spoiled ones of each normal


def kinds_settings(epochs: int = EPOCHS) -> TrainingSettings:
    """Return the recipe of the net; few passes, for one that knows the pen too well notices little else."""
    return normals_settings(epochs, learning_rate=1.5e-3, batch_size=16)


def learn_kinds(
    normals: Normals, *, out_dir: Path, settings: TrainingSettings | None = None, seed: int = 0
) -> tuple[FeatureSource, LearningCurve]:
    """Train an encoder to tell normals from copies of several kinds, and return it as a source of patches.

    Args:
        normals: those of `train` are learned from.
        out_dir: where the checkpoint stands.
        settings: `kinds_settings()` by default.
        seed: of weights, order and drawings.

    Raises:
        TrainingError: see `train_on_normals`.
    """
    import keras

    from pneumoscope.models.augmentation import augment_images
    from pneumoscope.models.encoder import build_encoder

    prepare_nets(seed)
    size = normals.train.images.shape[1]
    encoder = build_encoder(size=size)
    answers = keras.layers.Dense(1 + len(KINDS), activation="softmax", dtype="float32", name="kind")(encoder.output)
    net = keras.Model(encoder.input, answers, name="kinds")

    def make_batch(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        lungs = find_lungs(images)
        copies = [spoil_images(images, lungs, SpoilSettings(), rng) for _ in range(COPIES)]
        inputs = augment_images(np.concatenate([images, *(copy.images for copy in copies)]), EXPOSURES, rng)
        kinds = np.concatenate([np.zeros(len(images), int), *(1 + copy.kinds for copy in copies)])
        return inputs[..., None], np.eye(1 + len(KINDS), dtype=np.float32)[kinds]

    curve = train_on_normals(
        net,
        normals,
        settings or kinds_settings(),
        make_batch=make_batch,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
        checkpoint_path=out_dir / "kinds.npz",
        seed=seed,
    )
    # The same weights in 32 bits: distances are told from small differences.
    keras.config.set_dtype_policy("float32")
    exact = build_encoder(size=size)
    exact.set_weights(encoder.get_weights())
    return build_source(SOURCE_NAME, exact, ENCODER_LAYERS), curve
