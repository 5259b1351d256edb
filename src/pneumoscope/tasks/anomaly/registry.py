"""All detectors by name, each fitted to normals with the means at hand."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pneumoscope.tasks.anomaly import (
    autoencoder,
    distillation,
    mahalanobis,
    kinds,
    lesion_net,
    patchcore,
    pretraining,
    redrawing,
)
from pneumoscope.tasks.anomaly.detector import Detector
from pneumoscope.tasks.anomaly.features import FeatureSource, load_flagship_source, load_imagenet_source
from pneumoscope.tasks.anomaly.evaluation import Normals

# Layers of a net of photographs are told apart at 224 pixels; a student of them learns at 128, in a third of the time.
TAUGHT_SIZE = 128
TOP_SHARE = 0.1  # of the cells of a map: opacities of pneumonia are wide, unlike the scratches that maxima are made for


@dataclass(frozen=True)
class Means:
    """What detectors are made with.

    Attributes:
        out_dir: where checkpoints stand.
        epochs: passes of every training, instead of each method's own; autoencoders get 8 at the least.
        weights: file of the net of photographs (`keras.applications` MobileNet 0.75, without top), or None.
        flagship: folder of a trained flagship, or None.
        seed: of all that is left to chance.
    """

    out_dir: Path
    epochs: int | None = None
    weights: Path | None = None
    flagship: Path | None = None
    seed: int = 0

    def choose_epochs(self, usual: int, *, least: int = 1) -> int:
        """Return a method's own number of epochs, or the one that was asked for."""
        return usual if self.epochs is None else max(least, self.epochs)


@dataclass(frozen=True)
class Method:
    """One detector of the benchmark.

    Attributes:
        fit: takes normals and means.
        remark: what its figures must be read with.
        needs: which of the means must be given, or nothing.
    """

    fit: Callable[[Normals, Means], Detector]
    remark: str
    needs: str = ""


Fit = Callable[[FeatureSource, Normals, Means], Detector]


def _load_imagenet(normals: Normals, means: Means) -> FeatureSource:
    return load_imagenet_source(means.weights, input_size=normals.train.images.shape[1])


def _load_taught(normals: Normals, means: Means) -> FeatureSource:
    return load_imagenet_source(means.weights, input_size=normals.train.images.shape[1], size=TAUGHT_SIZE)


def _load_flagship(normals: Normals, means: Means) -> FeatureSource:
    assert means.flagship is not None
    return load_flagship_source(means.flagship)


def _pretrain(normals: Normals, means: Means) -> FeatureSource:
    epochs = means.choose_epochs(pretraining.EPOCHS)
    return pretraining.pretrain_source(normals, out_dir=means.out_dir, epochs=epochs, seed=means.seed)


def _learn_kinds(normals: Normals, means: Means) -> FeatureSource:
    settings = kinds.kinds_settings(means.choose_epochs(kinds.EPOCHS))
    return kinds.learn_kinds(normals, out_dir=means.out_dir, settings=settings, seed=means.seed)[0]


def _fit_mahalanobis(source: FeatureSource, normals: Normals, means: Means) -> Detector:
    return mahalanobis.fit_mahalanobis(source, normals.train.images, seed=means.seed)


def _fit_padim(source: FeatureSource, normals: Normals, means: Means) -> Detector:
    return mahalanobis.fit_padim(source, normals.train.images, top_share=TOP_SHARE, seed=means.seed)


def _fit_patchcore(source: FeatureSource, normals: Normals, means: Means) -> Detector:
    return patchcore.fit_patchcore(source, normals.train.images, seed=means.seed)


def _fit_wide_patchcore(source: FeatureSource, normals: Normals, means: Means) -> Detector:
    settings = patchcore.PatchcoreSettings(top_share=TOP_SHARE)
    return patchcore.fit_patchcore(source, normals.train.images, settings=settings, seed=means.seed)


def _fit_distillation(source: FeatureSource, normals: Normals, means: Means) -> Detector:
    epochs = means.choose_epochs(distillation.EPOCHS)
    return distillation.fit_distillation(
        source, normals, out_dir=means.out_dir, epochs=epochs, top_share=TOP_SHARE, seed=means.seed
    )


def _fit_autoencoder(normals: Normals, means: Means) -> Detector:
    from pneumoscope.models.settings import autoencoder_settings

    settings = autoencoder_settings("paper", epochs=means.epochs)
    return autoencoder.fit_autoencoder(normals, out_dir=means.out_dir, settings=settings, seed=means.seed)


def _fit_denoising(normals: Normals, means: Means) -> Detector:
    epochs = means.choose_epochs(redrawing.EPOCHS, least=redrawing.LEAST_EPOCHS)
    return redrawing.fit_denoising(normals, out_dir=means.out_dir, epochs=epochs, seed=means.seed)


def _fit_variational(normals: Normals, means: Means) -> Detector:
    epochs = means.choose_epochs(redrawing.EPOCHS, least=redrawing.LEAST_EPOCHS)
    return redrawing.fit_variational(normals, out_dir=means.out_dir, epochs=epochs, seed=means.seed)


def _fit_lesion_net(normals: Normals, means: Means) -> Detector:
    usual = lesion_net.LesionNetSettings()
    settings = replace(usual, epochs=means.choose_epochs(usual.epochs))
    return lesion_net.fit_lesion_net(normals, out_dir=means.out_dir, settings=settings, seed=means.seed)


def _on(load: Callable[[Normals, Means], FeatureSource], fit: Fit) -> Callable[[Normals, Means], Detector]:
    return lambda normals, means: fit(load(normals, means), normals, means)


_PHOTOGRAPHS = "Features of a net that learned from photographs."
_OF_NORMALS = "Features of a net that learned from the normals alone."
_OF_DRAWINGS = "Features of a net that learned to name what was drawn into the normals."
_SICK = "Has seen sick images: features of the classifier; not to be compared with what learned from normals only."

METHODS: dict[str, Method] = {
    "autoencoder": Method(_fit_autoencoder, "The paper's net and recipe."),
    "denoising": Method(_fit_denoising, "An autoencoder with a narrow code, judged by structural similarity."),
    "variational": Method(_fit_variational, "A variational autoencoder with a narrow code."),
    "mahalanobis_imagenet": Method(_on(_load_imagenet, _fit_mahalanobis), _PHOTOGRAPHS, "weights"),
    "padim_imagenet": Method(_on(_load_imagenet, _fit_padim), _PHOTOGRAPHS, "weights"),
    "patchcore_imagenet": Method(_on(_load_imagenet, _fit_patchcore), _PHOTOGRAPHS, "weights"),
    "patchcore_wide_imagenet": Method(
        _on(_load_imagenet, _fit_wide_patchcore),
        f"{_PHOTOGRAPHS} Scored by the oddest tenth, not the maximum.",
        "weights",
    ),
    "distillation_imagenet": Method(_on(_load_taught, _fit_distillation), _PHOTOGRAPHS, "weights"),
    "mahalanobis_self_supervised": Method(_on(_pretrain, _fit_mahalanobis), _OF_NORMALS),
    "padim_self_supervised": Method(_on(_pretrain, _fit_padim), _OF_NORMALS),
    "patchcore_self_supervised": Method(_on(_pretrain, _fit_patchcore), _OF_NORMALS),
    "mahalanobis_drawn_kinds": Method(_on(_learn_kinds, _fit_mahalanobis), _OF_DRAWINGS),
    "padim_drawn_kinds": Method(_on(_learn_kinds, _fit_padim), _OF_DRAWINGS),
    "patchcore_drawn_kinds": Method(_on(_learn_kinds, _fit_patchcore), _OF_DRAWINGS),
    "lesion_net": Method(
        _fit_lesion_net, "Learned from opacities drawn on normals, as those of the drawn figures are."
    ),
    "mahalanobis_flagship": Method(_on(_load_flagship, _fit_mahalanobis), _SICK, "flagship"),
    "padim_flagship": Method(_on(_load_flagship, _fit_padim), _SICK, "flagship"),
    "patchcore_flagship": Method(_on(_load_flagship, _fit_patchcore), _SICK, "flagship"),
}
