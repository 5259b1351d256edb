"""Vessels and lesions of a drawn chest: branching vessels, lobar consolidation, interstitial streaks.

Places are in the thorax coordinates of `pneumoscope.phantoms.anatomy`. The patterns follow textbooks: bacterial
phantoms get one consolidated lobe with air bronchograms; viral phantoms get streaks, fine reticular lines and a
slight haze about both hila.
"""

from dataclasses import dataclass

import numpy as np

from pneumoscope.phantoms.anatomy import Chest, smooth, to_pixels

# Lobes as (side, height of the center, lateral place of the center, half height); side 1 is the patient's left.
# Height and place are counted as `Chest` does.
_LOBES = (
    ((-1, -1), (0.18, 0.36), (0.45, 0.72), (0.24, 0.42)),  # right upper
    ((-1, -1), (0.55, 0.68), (0.50, 0.66), (0.20, 0.30)),  # right middle
    ((-1, -1), (0.72, 0.86), (0.48, 0.76), (0.24, 0.42)),  # right lower
    ((1, 1), (0.22, 0.42), (0.48, 0.74), (0.26, 0.44)),  # left upper
    ((1, 1), (0.66, 0.84), (0.68, 0.82), (0.24, 0.42)),  # left lower
)
_LOBE_SHARES = (0.20, 0.20, 0.25, 0.10, 0.25)  # lower lobes are affected more often

_THINNEST = 0.55  # standard deviation of the thinnest line that pixels can hold

_BRANCH = np.dtype([(name, np.float32) for name in ("u", "v", "angle", "length", "bend", "width", "strength")])


@dataclass(frozen=True)
class Lesion:
    """Lesions of chests, each array `(n, size, size)`."""

    filled: np.ndarray  # float32 in [0, 1], share of the lung's air that is gone
    lines: np.ndarray  # float32, optical thickness of streaks and fine lines
    mask: np.ndarray  # bool


def sample_vessels(num_children: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Grow the vessel tree of each child.

    Returns:
        Three generations of branches, `(num_children, branches)` structured, starting at the hila; `u` and `v`
        of the first are relative to the hilum, with `u` counted away from the spine on both sides.
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
    """Return two thinner branches out of each; the first half of the row stays the right lung's."""
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
    """Return the points at share `t` of the way along each branch."""
    cos, sin = np.cos(branches["angle"]), np.sin(branches["angle"])
    ahead, aside = branches["length"] * t, branches["length"] * branches["bend"] * t * t
    return branches["u"] + ahead * cos - aside * sin, branches["v"] + ahead * sin + aside * cos


def draw_vessels(generations: list[np.ndarray], cases: np.ndarray, size: int) -> np.ndarray:
    """Return `(n, size, size)` float32, the optical thickness of the vessels before the lungs bound them.

    `generations` are those of `sample_vessels`, one row an image; `cases` those of `sample_cases`.
    """
    total = np.zeros((len(cases), size, size), np.float32)
    for branches in generations:
        total += _draw_branches(branches, cases, size)
    total *= cases["vessel_strength"][:, None, None]
    return total


def _draw_branches(branches: np.ndarray, cases: np.ndarray, size: int) -> np.ndarray:
    """Return `(n, size, size)` float32: branches as rows of soft dots; the first half of each row lies right."""
    poses = cases[:, None, None]
    branches = branches[:, :, None]
    pixels = poses["scale"] * size / 2
    # Gaussian dots two standard deviations apart merge into a line that is even to 2 %.
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
    """Add a Gaussian dot of height `weight` at each place; all `(n, points)`, in pixels."""
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
    """Return `(num_images, size, size)` float32 smooth noise of unit variance with `detail` cells a side."""
    place = np.linspace(0, detail, size, dtype=np.float32)[:, None] - np.arange(-1, detail + 2)
    basis = np.maximum(1 - (place / 1.7) ** 2, 0) ** 3
    basis = (basis / np.sqrt((basis**2).sum(axis=1, keepdims=True))).astype(np.float32)
    coarse = rng.standard_normal((num_images, detail + 3, detail + 3), dtype=np.float32)
    texture: np.ndarray = basis @ coarse @ basis.T
    return texture


def sample_consolidations(children: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Choose lobe, place and density of each child's consolidation; its size varies from image to image.

    Args:
        children: `(n,)` int, from 0: the child of each image.
        rng: source of all randomness.

    Returns:
        `(n,)` structured float32: `side`, center (`height`, `lateral`) and half axes (`tall`, `wide`) as `Chest`
        counts them, `density` in [0, 1], `soft` width of the edge.
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
    """Draw one filled lobe in each chest, soft-edged and within the lung; `lesions` of `sample_consolidations`."""
    num_images, size = chest.u.shape[:2]
    lesions = lesions[:, None, None]
    distance = ((chest.height - lesions["height"]) / lesions["tall"]) ** 2
    distance += ((chest.lateral - lesions["lateral"]) / lesions["wide"]) ** 2
    distance += 0.30 * draw_texture(num_images, size, 11, rng)
    shape = smooth((1.5 - distance) / lesions["soft"]) * (chest.u * lesions["side"] > 0)
    filled = shape * lesions["density"] * np.clip(0.97 + 0.14 * draw_texture(num_images, size, 26, rng), 0, 1.05)
    return Lesion(filled, np.zeros_like(filled), (shape > 0.4) & (chest.lungs > 0.5))


def sample_interstitial(children: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose reach and strength of each child's interstitial pattern, and the streaks of each image.

    Returns:
        `(n,)` structured float32 patterns and `(n, streaks)` structured branches; `children` is `(n,)` int.
    """
    bounds = {"reach": (0.36, 0.58), "haze": (0.27, 0.46), "streaks": (0.09, 0.16), "mesh": (0.09, 0.15)}
    bounds |= {"balance": (-0.25, 0.25), "drift": (-0.02, 0.16)}  # between the sides, and downwards
    patterns = np.zeros(children.max(initial=-1) + 1, dtype=[(name, np.float32) for name in bounds])
    for name, (low, high) in bounds.items():
        patterns[name] = rng.uniform(low, high, len(patterns))
    patterns = patterns[children]
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
    """Draw streaks, fine lines and haze about both hila; `patterns` and `streaks` of `sample_interstitial`."""
    num_images, size = chest.u.shape[:2]
    poses, patterns = cases[:, None, None], patterns[:, None, None]
    distance = ((np.abs(chest.u) - poses["hilum_u"]) / patterns["reach"]) ** 2
    distance += ((chest.v - poses["hilum_v"] - patterns["drift"]) / (1.25 * patterns["reach"])) ** 2
    share = smooth((1.25 - distance) / 0.9) * (1 + patterns["balance"] * np.sign(chest.u))
    mesh = np.clip(1 - np.abs(draw_texture(num_images, size, 44, rng)) / 0.45, 0, 1)
    lines = patterns["mesh"] * mesh + _draw_branches(streaks, cases, size)
    return Lesion(patterns["haze"] * share, lines * share, (share > 0.4) & (chest.lungs > 0.5))
