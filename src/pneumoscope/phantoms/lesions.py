"""Vessels and lesions of phantoms: branching vessels, consolidation, interstitial patterns, nodules, effusions.

Positions are in the thorax coordinates of `pneumoscope.phantoms.anatomy`. Patterns follow textbook descriptions: a
consolidation is one lobe with air bronchograms; interstitial patterns are bilateral perihilar streaks, reticular lines
and haze; a nodule is round and dense; an effusion fills the base of one lung up to a line that rises at the ribs.
"""

from dataclasses import dataclass

import numpy as np

from pneumoscope.phantoms.anatomy import Chest, smooth, to_pixels

# Ranges of (side, height of the center, lateral position of the center, half height); side 1 is the patient's left.
# Units are those of `Chest`.
_LOBES = (
    ((-1, -1), (0.18, 0.36), (0.45, 0.72), (0.24, 0.42)),  # right upper
    ((-1, -1), (0.55, 0.68), (0.50, 0.66), (0.20, 0.30)),  # right middle
    ((-1, -1), (0.72, 0.86), (0.48, 0.76), (0.24, 0.42)),  # right lower
    ((1, 1), (0.22, 0.42), (0.48, 0.74), (0.26, 0.44)),  # left upper
    ((1, 1), (0.66, 0.84), (0.68, 0.82), (0.24, 0.42)),  # left lower
)
_LOBE_SHARES = (0.20, 0.20, 0.25, 0.10, 0.25)  # lower lobes are affected more often

_THINNEST = 0.55  # minimum standard deviation of a line in pixels

_BRANCH = np.dtype([(name, np.float32) for name in ("u", "v", "angle", "length", "bend", "width", "strength")])


@dataclass(frozen=True)
class Lesion:
    """Lesions of phantoms.

    Attributes:
        filled: `(n, size, size)` float32 in [0, 1], share of the air in the lung that is replaced.
        lines: `(n, size, size)` float32, optical thickness of streaks and reticular lines.
        mask: `(n, size, size)` bool, lesion mask.
    """

    filled: np.ndarray
    lines: np.ndarray
    mask: np.ndarray


def sample_vessels(num_children: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Sample the vessel tree of each child.

    Returns:
        Three generations of branches from the hila, `(num_children, branches)` structured arrays. `u` and `v` of the
        first generation are relative to the hilum; `u` is positive away from the spine on both sides.
    """
    fan = np.linspace(-1.35, 1.45, 7, dtype=np.float32)
    trunk = np.zeros((num_children, 14), _BRANCH)
    trunk["angle"] = np.tile(fan, 2) + rng.normal(0, 0.12, trunk.shape)
    trunk["u"] = rng.normal(0, 0.015, trunk.shape)
    trunk["v"] = 0.07 * trunk["angle"] + rng.normal(0, 0.02, trunk.shape)
    trunk["length"] = rng.uniform(0.30, 0.50, trunk.shape)
    trunk["bend"] = rng.normal(0, 0.12, trunk.shape)
    trunk["width"] = rng.uniform(0.010, 0.018, trunk.shape)
    trunk["strength"] = 1
    branches = _fork(trunk, rng)
    return [trunk, branches, _fork(branches, rng)]


def _fork(parents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return two thinner child branches per branch; the first half of a row belongs to the right lung."""
    twigs = np.repeat(parents, 2, axis=1)
    t = rng.uniform(0.35, 0.8, twigs.shape)
    u, v = _follow(twigs, t)
    turn = rng.uniform(0.25, 0.65, twigs.shape) * np.tile([1, -1], parents.shape[1])
    twigs["u"], twigs["v"] = u, v
    twigs["angle"] += 2 * twigs["bend"] * t + turn
    twigs["length"] *= rng.uniform(0.45, 0.75, twigs.shape)
    twigs["bend"] = rng.normal(0, 0.12, twigs.shape)
    twigs["width"] *= 0.62
    twigs["strength"] *= 0.8
    return twigs


def _follow(branches: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points at the relative position `t` along each branch."""
    cos, sin = np.cos(branches["angle"]), np.sin(branches["angle"])
    ahead, aside = branches["length"] * t, branches["length"] * branches["bend"] * t * t
    return branches["u"] + ahead * cos - aside * sin, branches["v"] + ahead * sin + aside * cos


def draw_vessels(generations: list[np.ndarray], cases: np.ndarray, size: int) -> np.ndarray:
    """Return `(n, size, size)` float32, the optical thickness of the vessels, not yet clipped to the lungs.

    Args:
        generations: from `sample_vessels`, one row per image.
        cases: from `sample_cases`.
        size: side length in pixels.
    """
    total = np.zeros((len(cases), size, size), np.float32)
    for branches in generations:
        total += _draw_branches(branches, cases, size)
    total *= cases["vessel_strength"][:, None, None]
    return total


def _draw_branches(branches: np.ndarray, cases: np.ndarray, size: int) -> np.ndarray:
    """Draw branches as chains of dots, `(n, size, size)` float32; the first half of a row is the right lung."""
    poses = cases[:, None, None]
    branches = branches[:, :, None]
    pixels = poses["scale"] * size / 2
    # Gaussian dots two standard deviations apart form a line that is uniform to 2 %.
    finest = max(_THINNEST, 0.6 * float((branches["width"] * pixels).min()))
    num_points = 2 + int(float((branches["length"] * pixels).max()) / (2 * finest))
    t = np.linspace(0, 1, num_points, dtype=np.float32)
    u, v = _follow(branches, t)
    side = np.repeat(np.array([-1, 1], dtype=np.float32), branches.shape[1] // 2)[:, None]
    column, row = to_pixels(side * (poses["hilum_u"] + u), poses["hilum_v"] + v, poses, size)
    sigma = branches["width"] * (1 - 0.4 * t) * pixels
    visible = np.maximum(sigma, _THINNEST)
    dot = branches["strength"] * (1 - 0.3 * t) * (sigma / visible)
    dot = dot * branches["length"] * pixels / (num_points - 1) / (np.sqrt(2 * np.pi) * visible)
    column, row, visible, dot = (
        array.reshape(len(cases), -1) for array in np.broadcast_arrays(column, row, visible, dot)
    )
    return _stamp(column, row, visible, dot, size)


def _stamp(column: np.ndarray, row: np.ndarray, sigma: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """Draw Gaussian dots of height `weight`; arguments are `(n, points)`, positions and sigma in pixels."""
    reach = int(np.ceil(2.2 * sigma.max()))
    inside = (np.minimum(column, row) >= reach) & (np.maximum(column, row) <= size - 1 - reach)
    image, point = np.nonzero(inside)
    column, row, sigma, weight = (array[image, point][:, None] for array in (column, row, sigma, weight))
    window = np.arange(-reach, reach + 1)
    columns, rows = np.rint(column).astype(np.int64) + window, np.rint(row).astype(np.int64) + window
    across = np.exp(-0.5 * ((columns - column) / sigma) ** 2)
    down = np.exp(-0.5 * ((rows - row) / sigma) ** 2) * weight
    places = (image[:, None] * size + rows)[:, :, None] * size + columns[:, None, :]
    dots = down[:, :, None] * across[:, None, :]
    canvas = np.bincount(places.ravel(), dots.ravel(), minlength=int(inside.shape[0]) * size * size)
    return canvas.reshape(-1, size, size).astype(np.float32)


def draw_texture(num_images: int, size: int, detail: int, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise of unit variance on a `detail` x `detail` grid, `(num_images, size, size)` float32."""
    place = np.linspace(0, detail, size, dtype=np.float32)[:, None] - np.arange(-1, detail + 2)
    basis = np.maximum(1 - (place / 1.7) ** 2, 0) ** 3
    basis = (basis / np.sqrt((basis**2).sum(axis=1, keepdims=True))).astype(np.float32)
    coarse = rng.standard_normal((num_images, detail + 3, detail + 3), dtype=np.float32)
    texture: np.ndarray = basis @ coarse @ basis.T
    return texture


def sample_consolidations(children: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sample lobe, position and density of the consolidation of each child; its size varies between images.

    Args:
        children: `(n,)` int, index of the child of each image.
        rng: random generator.

    Returns:
        `(n,)` structured float32: `side`, center (`height`, `lateral`) and semi-axes (`tall`, `wide`) in the units of
        `Chest`, `density` in [0, 1], and `soft`, the width of the edge.
    """
    names = ("side", "height", "lateral", "tall", "wide", "density", "soft")
    lesions = np.zeros(children.max(initial=-1) + 1, dtype=[(name, np.float32) for name in names])
    low, high = np.array(_LOBES).transpose(2, 0, 1)
    lobe = rng.choice(len(_LOBES), len(lesions), p=_LOBE_SHARES)
    for column, name in enumerate(("side", "height", "lateral", "tall")):
        lesions[name] = rng.uniform(low[lobe, column], high[lobe, column])
    lesions["wide"] = rng.uniform(0.45, 0.75, len(lesions))
    lesions["density"] = rng.uniform(0.85, 1.0, len(lesions))
    lesions["soft"] = rng.uniform(0.8, 1.2, len(lesions))
    lesions = np.asarray(lesions[children])
    for name in ("tall", "wide"):
        lesions[name] *= rng.uniform(0.85, 1.15, len(lesions))
    return lesions


def draw_consolidations(lesions: np.ndarray, chest: Chest, rng: np.random.Generator) -> Lesion:
    """Draw one soft-edged consolidated lobe per chest; `lesions` from `sample_consolidations`."""
    num_images, size = chest.u.shape[:2]
    lesions = lesions[:, None, None]
    distance = ((chest.height - lesions["height"]) / lesions["tall"]) ** 2
    distance += ((chest.lateral - lesions["lateral"]) / lesions["wide"]) ** 2
    distance += 0.30 * draw_texture(num_images, size, 11, rng)
    shape = smooth((1.5 - distance) / lesions["soft"]) * (chest.u * lesions["side"] > 0)
    filled = shape * lesions["density"] * np.clip(0.97 + 0.14 * draw_texture(num_images, size, 26, rng), 0, 1.05)
    return Lesion(filled, np.zeros_like(filled), (shape > 0.4) & (chest.lungs > 0.5))


def sample_interstitial(children: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sample extent and strength of the interstitial pattern of each child, and the streaks of each image.

    Args:
        children: `(n,)` int, index of the child of each image.
        rng: random generator.

    Returns:
        `(n,)` structured float32 patterns and `(n, streaks)` structured branches.
    """
    bounds = {"reach": (0.36, 0.58), "haze": (0.27, 0.46), "streaks": (0.09, 0.16), "mesh": (0.09, 0.15)}
    bounds |= {"balance": (-0.25, 0.25), "drift": (-0.02, 0.16)}  # left-right asymmetry, downward shift
    patterns = _sample_children(bounds, children, rng)
    streaks = np.zeros((len(children), 120), _BRANCH)
    direction = rng.uniform(-1.5, 1.6, streaks.shape)
    distance = patterns["reach"][:, None] * rng.uniform(0.05, 1.0, streaks.shape) ** 0.8
    streaks["u"], streaks["v"] = distance * np.cos(direction), distance * np.sin(direction)
    streaks["v"] += patterns["drift"][:, None]
    streaks["angle"] = direction + rng.normal(0, 0.35, streaks.shape)
    streaks["length"] = rng.uniform(0.06, 0.16, streaks.shape)
    streaks["bend"] = rng.normal(0, 0.2, streaks.shape)
    streaks["width"] = rng.uniform(0.005, 0.010, streaks.shape)
    streaks["strength"] = patterns["streaks"][:, None] * rng.uniform(0.5, 1.2, streaks.shape)
    return patterns, streaks


def draw_interstitial(
    patterns: np.ndarray, streaks: np.ndarray, chest: Chest, cases: np.ndarray, rng: np.random.Generator
) -> Lesion:
    """Draw perihilar streaks, reticular lines and haze; `patterns` and `streaks` from `sample_interstitial`."""
    num_images, size = chest.u.shape[:2]
    poses, patterns = cases[:, None, None], patterns[:, None, None]
    distance = ((np.abs(chest.u) - poses["hilum_u"]) / patterns["reach"]) ** 2
    distance += ((chest.v - poses["hilum_v"] - patterns["drift"]) / (1.25 * patterns["reach"])) ** 2
    share = smooth((1.25 - distance) / 0.9) * (1 + patterns["balance"] * np.sign(chest.u))
    mesh = np.clip(1 - np.abs(draw_texture(num_images, size, 44, rng)) / 0.45, 0, 1)
    lines = patterns["mesh"] * mesh + _draw_branches(streaks, cases, size)
    return Lesion(patterns["haze"] * share, lines * share, (share > 0.4) & (chest.lungs > 0.5))


def sample_nodules(children: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sample the nodule of each child, `(n,)` structured float32: sign of the `side`, center and `radius`."""
    bounds = {"side": (-1, 1), "height": (0.25, 0.72), "lateral": (0.52, 0.76), "radius": (0.07, 0.13)}
    return _sample_children(bounds, children, rng)


def draw_nodules(nodules: np.ndarray, chest: Chest, rng: np.random.Generator) -> Lesion:
    """Draw one round nodule per chest; `nodules` from `sample_nodules`."""
    nodules = nodules[:, None, None]
    # The lungs are about 1.2 high and 0.7 wide in the units of `radius`.
    down, aside = 1.2 * (chest.height - nodules["height"]), 0.7 * (chest.lateral - nodules["lateral"])
    distance = (down**2 + aside**2) / nodules["radius"] ** 2 + 0.08 * draw_texture(
        len(chest.u), chest.u.shape[1], 20, rng
    )
    return _fill(smooth((1.35 - distance) / 0.7) * (chest.u * nodules["side"] > 0), chest)


def sample_effusions(children: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sample the effusion of each child, `(n,)` structured float32: sign of the `side`, `level` and `rise`."""
    return _sample_children({"side": (-1, 1), "level": (0.62, 0.88), "rise": (0.15, 0.35)}, children, rng)


def draw_effusions(effusions: np.ndarray, chest: Chest, rng: np.random.Generator) -> Lesion:
    """Draw one effusion per chest, with a meniscus at the ribs; `effusions` from `sample_effusions`."""
    effusions = effusions[:, None, None]
    surface = effusions["level"] - effusions["rise"] * chest.lateral**3
    surface = surface + 0.01 * draw_texture(len(chest.u), chest.u.shape[1], 8, rng)
    return _fill(smooth((chest.height - surface) / 0.07) * (chest.u * effusions["side"] > 0), chest)


def join_lesions(lesions: list[Lesion]) -> Lesion:
    """Return several lesions of the same chests as one."""
    return Lesion(
        np.maximum.reduce([lesion.filled for lesion in lesions]),
        np.sum([lesion.lines for lesion in lesions], axis=0),
        np.logical_or.reduce([lesion.mask for lesion in lesions]),
    )


def _fill(shape: np.ndarray, chest: Chest) -> Lesion:
    """Return a dense lesion of a `(n, size, size)` shape in [0, 1]."""
    filled = shape.astype(np.float32)
    return Lesion(filled, np.zeros_like(filled), (filled > 0.4) & (chest.lungs > 0.5))


def _sample_children(
    bounds: dict[str, tuple[float, float]], children: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return `(n,)` structured float32, uniform between the bounds and equal for all images of a child."""
    samples = np.zeros(children.max(initial=-1) + 1, dtype=[(name, np.float32) for name in bounds])
    for name, (low, high) in bounds.items():
        samples[name] = rng.uniform(low, high, len(samples))
    return np.asarray(samples[children])
