"""Whether an image looks like those that the models were trained on, and what is wrong where it does not.

Frontal chest films are alike at a coarse look: two dark lungs, a bright middle, a bright belly. Images are shrunk to
16 x 16 cells, freed of brightness and contrast, and judged in three ways:

- By how odd they are among the training images, described by principal components: what is unusual within those
  (Mahalanobis distance) or left over beside them (residual), in units of the training images' own root mean square.
  This tells what nobody thought of.
- By a small net that has seen the training images turned, cut, inverted and the like
  (`pneumoscope.phantoms.invalid_inputs`). This tells what is wrong.
- By contrast and the shares of black and white pixels before those were taken away.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pneumoscope.phantoms.invalid_inputs import KINDS, PHANTOM, USUAL, make_invalid_inputs, vary_radiograph

CELLS = 16
NUM_COMPONENTS = 24
FLAGGED_SHARE = 0.005
REFUSAL_FACTOR = 1.3

REASONS = {
    "inverted": "The film looks inverted, with dark bones.",
    "left": "The film looks turned by a quarter to the left.",
    "right": "The film looks turned by a quarter to the right.",
    "down": "The film looks upside down.",
    "tilted": "The film looks tilted.",
    "part": "This looks like a part of a frontal chest film, or like another view.",
    "other": "This does not look like a frontal chest film.",
    "mirrored": "The film looks mirrored, left for right.",
    PHANTOM: "The film looks unlike those that the models were trained on, more like a drawn phantom.",
}
CAUSES = (USUAL, *REASONS)
SHOWABLE = ("mirrored", PHANTOM)

_UNLIKE = "The film looks unlike those that the models were trained on."
_FAINT = "The film has hardly any contrast."
_CLIPPED = "Much of the film is plain black or plain white."

_HIDDEN = 32
_MOST_OF_A_KIND = 1000
_LEARNING_SIZE = (64, 64)
_BLACK, _WHITE = 5, 250
_LEAST_REFUSED = 0.98
_LEAST_FLAGGED = 0.5
_SLACK = 1.25


@dataclass(frozen=True)
class OODDetector:
    """The look of a body of training images.

    Attributes:
        mean: `(256,)` float32, of the described images.
        components: `(24, 256)` float32, orthonormal.
        spreads: `(24,)` float32, standard deviation along each component.
        residual: root mean square of what the components leave.
        flagged_from: oddness from which an image counts as unlike the training images.
        refused_from: oddness from which it counts as no frontal chest film at all.
        hidden, hidden_bias: `(256, 32)` and `(32,)` float32, of the net's hidden layer.
        output, output_bias: `(32, causes)` and `(causes,)` float32, of its last layer, in the order of `CAUSES`.
        cause_from: `(causes,)` float32, probability from which an image is flagged for a cause; the first is not used.
        wrong_from: probability of all causes together that is refused; those of `SHOWABLE` do not count.
        least_contrast: standard deviation of gray levels below which an image is flagged; a third of it is refused.
        most_black, most_white: shares of pixels beyond which an image is flagged.
    """

    mean: np.ndarray
    components: np.ndarray
    spreads: np.ndarray
    residual: float
    flagged_from: float
    refused_from: float
    hidden: np.ndarray
    hidden_bias: np.ndarray
    output: np.ndarray
    output_bias: np.ndarray
    cause_from: np.ndarray
    wrong_from: float
    least_contrast: float
    most_black: float
    most_white: float

    def __post_init__(self) -> None:
        if self.output.shape != (len(self.hidden_bias), len(CAUSES)) or self.cause_from.shape != (len(CAUSES),):
            raise ValueError(f"the net's last layer is {self.output.shape}, expected a column for each of {CAUSES}")

    def measure(self, images: np.ndarray) -> np.ndarray:
        """Return `(n,)` float64, how odd each image is; about 1 for a usual one.

        Args:
            images: `(n, H, W)` uint8, sides a multiple of 16.
        """
        return self._measure(_describe(images))

    def name_causes(self, images: np.ndarray) -> np.ndarray:
        """Return `(n, causes)` float64, the net's probabilities of what each image is, in the order of `CAUSES`."""
        return self._name_causes(_describe(images))

    def judge(self, images: np.ndarray) -> list[tuple[bool, bool, str]]:
        """Return for each image whether it is in the domain, whether to refuse it, and why.

        Args:
            images: `(n, H, W)` uint8, sides a multiple of 16.
        """
        described = _describe(images)
        causes = self._name_causes(described)
        rows = zip(
            self._measure(described).tolist(),
            (1 + causes[:, 1:].argmax(axis=1)).tolist(),
            (_sum_wrong(causes) >= self.wrong_from).tolist(),
            np.any(causes[:, 1:] >= self.cause_from[1:], axis=1).tolist(),
            _measure_exposure(images).tolist(),
            strict=True,
        )
        return [self._judge_one(*row) for row in rows]

    def _judge_one(
        self, odd: float, likeliest: int, wrong: bool, named: bool, exposure: Sequence[float]
    ) -> tuple[bool, bool, str]:
        contrast, black, white = exposure
        if contrast < self.least_contrast / 3:
            return False, True, _FAINT
        if wrong:
            return False, True, REASONS[CAUSES[likeliest]]
        if odd >= self.refused_from:
            return False, True, REASONS["other"]
        if named:
            return False, False, REASONS[CAUSES[likeliest]]
        if contrast < self.least_contrast:
            return False, False, _FAINT
        if black > self.most_black or white > self.most_white:
            return False, False, _CLIPPED
        return (False, False, _UNLIKE) if odd >= self.flagged_from else (True, False, "")

    def _measure(self, described: np.ndarray) -> np.ndarray:
        centered = described - self.mean
        along = centered @ self.components.T
        left = centered - along @ self.components
        within = np.sqrt(np.square(along / self.spreads).mean(axis=1))
        return np.maximum(within, np.sqrt(np.square(left).mean(axis=1)) / self.residual)

    def _name_causes(self, described: np.ndarray) -> np.ndarray:
        raised = np.maximum(described @ self.hidden + self.hidden_bias, 0) @ self.output + self.output_bias
        shares = np.exp(raised - raised.max(axis=1, keepdims=True), dtype=np.float64)
        return shares / shares.sum(axis=1, keepdims=True)

    def to_arrays(self) -> dict[str, Any]:
        """Return all attributes by name, fit for `np.savez`."""
        return {name: np.asarray(value, dtype=np.float32) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "OODDetector":
        """Return what `to_arrays` described."""
        plain: dict[str, Any] = {name: value if value.ndim else float(value) for name, value in arrays.items()}
        return cls(**plain)


def fit_ood_detector(
    train_images: np.ndarray, validation_images: np.ndarray, *, tell_drawn: bool = True, seed: int = 0
) -> OODDetector:
    """Learn the look of training images; the limits come from validation images.

    About 0.5 % of the validation images are flagged as odd, and as many for a cause; refusals begin well beyond the
    worst of them.

    Args:
        train_images, validation_images: `(n, H, W)` uint8, sides a multiple of 16; 48 or more to train on.
        tell_drawn: whether to learn to tell drawn phantoms; not where the training images are such.
        seed: of the net and of what it learns from.

    Raises:
        ValueError: if there are too few.
    """
    if len(train_images) < 2 * NUM_COMPONENTS or not len(validation_images):
        counts = f"{len(train_images)} training and {len(validation_images)} validation images"
        raise ValueError(f"{counts} are too few to learn their look; expected {2 * NUM_COMPONENTS} and 1 or more")
    described = _describe(train_images)
    mean = described.mean(axis=0)
    _, lengths, components = np.linalg.svd(described - mean, full_matrices=False)
    components = components[:NUM_COMPONENTS]
    left = described - mean - (described - mean) @ components.T @ components
    exposure = _measure_exposure(validation_images)
    unlimited = OODDetector(
        mean=mean,
        components=components,
        spreads=lengths[:NUM_COMPONENTS] / np.sqrt(len(described)),
        residual=float(np.sqrt(np.square(left).mean())),
        **_fit_net(train_images, tell_drawn=tell_drawn, seed=seed),
        flagged_from=np.inf,
        refused_from=np.inf,
        cause_from=np.ones(len(CAUSES), np.float32),
        wrong_from=1.0,
        least_contrast=float(exposure[:, 0].min() / _SLACK),
        most_black=float(exposure[:, 1].max() * _SLACK),
        most_white=float(exposure[:, 2].max() * _SLACK + 0.01),
    )
    return OODDetector(**{**vars(unlimited), **_choose_limits(unlimited, validation_images)})


def _choose_limits(domain: OODDetector, images: np.ndarray) -> dict[str, Any]:
    oddness, causes = domain.measure(images), domain.name_causes(images)
    wrong = float(_sum_wrong(causes).max())
    share = FLAGGED_SHARE / len(REASONS)
    return {
        "flagged_from": float(np.quantile(oddness, 1 - FLAGGED_SHARE)),
        "refused_from": float(REFUSAL_FACTOR * oddness.max()),
        "cause_from": np.maximum(np.quantile(causes, 1 - share, axis=0), _LEAST_FLAGGED).astype(np.float32),
        # Halfway, in terms of what is left to be sure, between the worst film and certainty.
        "wrong_from": max(1 - (1 - wrong) / 2, _LEAST_REFUSED),
    }


def _sum_wrong(causes: np.ndarray) -> np.ndarray:
    refused = [number for number, cause in enumerate(CAUSES) if cause not in (USUAL, *SHOWABLE)]
    return causes[..., refused].sum(axis=-1)


def _fit_net(images: np.ndarray, *, tell_drawn: bool, seed: int) -> dict[str, np.ndarray]:
    """Return the layers of a net that tells the training images, and variants of them, from invalid_inputs."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    # The look is coarse: of smaller films it is the same, and the invalid_inputs are made in a quarter of the time.
    smaller = [Image.fromarray(image).resize(_LEARNING_SIZE, Image.Resampling.BOX) for image in images]
    images = np.stack([np.asarray(image) for image in smaller])
    described = [_describe(images), _describe(np.stack([vary_radiograph(image, rng) for image in images]))]
    causes = [USUAL] * 2 * len(images)
    for name, kind in KINDS.items():
        if kind.learned and (tell_drawn or kind.cause != PHANTOM):
            films = images[rng.permutation(len(images))[:_MOST_OF_A_KIND]]
            described.append(_describe(make_invalid_inputs(films, name, seed=seed)))
            causes += [kind.cause] * len(films)
    net = MLPClassifier((_HIDDEN,), alpha=1e-2, batch_size=128, max_iter=15, random_state=seed)
    # On layers as small as these, threads only wait for one another.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(np.concatenate(described), causes)
    places = [list(net.classes_).index(cause) if cause in net.classes_ else -1 for cause in CAUSES]
    output, output_bias = net.coefs_[1][:, places], net.intercepts_[1][places]
    output[:, np.array(places) < 0], output_bias[np.array(places) < 0] = 0, -1e3
    layers = {"hidden": net.coefs_[0], "hidden_bias": net.intercepts_[0], "output": output, "output_bias": output_bias}
    return {name: values.astype(np.float32) for name, values in layers.items()}


def _measure_exposure(images: np.ndarray) -> np.ndarray:
    """Return `(n, 3)` float64: standard deviation of the gray levels, shares of black and of white pixels."""
    levels = images.reshape(len(images), -1).astype(np.float32)
    squares, means = np.einsum("ni,ni->n", levels, levels) / levels.shape[1], levels.mean(axis=1)
    # One image at a time: along an axis NumPy counts far more slowly.
    clipped = [(np.count_nonzero(image <= _BLACK), np.count_nonzero(image >= _WHITE)) for image in images]
    contrast = np.sqrt(np.maximum(squares - means.astype(np.float64) ** 2, 0))
    return np.column_stack([contrast, np.array(clipped) / levels.shape[1]])


def _describe(images: np.ndarray) -> np.ndarray:
    """Return `(n, 256)` float32, the cells' mean gray levels with mean 0 and spread 1 in each image."""
    n, height, width = images.shape
    # Sums of gray levels are exact in float32, whatever their order.
    rows = images.reshape(n, CELLS, -1, width).sum(axis=2, dtype=np.uint32).astype(np.float32)
    cells = rows @ np.eye(CELLS, dtype=np.float32).repeat(width // CELLS, axis=0)
    flat = cells.reshape(n, -1) / np.float32(height // CELLS * (width // CELLS))
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / (flat.std(axis=1, keepdims=True) + 0.25)
