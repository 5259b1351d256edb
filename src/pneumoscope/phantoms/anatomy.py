"""Anatomy of a normal phantom, as optical thickness of tissue, air and bone.

Thorax coordinates: `u` is horizontal, 0 at the spine and positive towards the right image border (the patient's left);
`v` is vertical and positive downwards; the image spans about -1 to 1 in both. Shapes resemble a frontal radiograph of
a child. No patient data are used.
"""

from dataclasses import dataclass

import numpy as np

# Anatomy parameters of one child: (minimum, maximum), in thorax coordinates unless stated otherwise.
_CHILD = {
    "cage_width": (0.64, 0.78),
    "cage_top": (-0.90, -0.78),
    "cage_base": (0.20, 0.50),  # height of the widest part
    "wall": (0.05, 0.13),  # thickness of the flank
    "lung_top": (-0.76, -0.66),
    "dome_right": (0.46, 0.60),
    "dome_left": (0.02, 0.09),  # below the right dome
    "dome_curve": (0.7, 1.4),
    "heart_u": (0.07, 0.12),
    "heart_v": (0.22, 0.32),
    "heart_length": (0.36, 0.46),
    "heart_width": (0.25, 0.33),
    "heart_tilt": (0.55, 0.95),  # radians
    "mediastinum": (0.10, 0.17),
    "spine_width": (0.065, 0.085),
    "spine_bend": (-0.03, 0.03),
    "vertebra": (0.105, 0.125),  # height of one vertebra
    "rib_spacing": (0.130, 0.160),
    "rib_phase": (0.0, 1.0),  # in spacings
    "rib_drop": (0.16, 0.28),  # from the posterior to the lateral part of a rib
    "rib_strength": (0.07, 0.13),  # optical thickness
    "rib_width": (0.36, 0.48),  # in spacings
    "clavicle_v": (-0.74, -0.64),
    "clavicle_rise": (0.0, 0.16),
    "neck": (0.20, 0.30),
    "vessel_strength": (0.04, 0.10),  # optical thickness
    "hilum_u": (0.17, 0.22),
    "hilum_v": (-0.10, 0.02),
    "bubble": (-0.10, 0.14),  # size of the gastric bubble; none if negative
    "bubble_u": (0.18, 0.42),
    "aspect": (0.94, 1.08),  # width / height
}

# Pose and exposure parameters, which vary between the images of one child.
_EXPOSURE = {
    "shift_u": (-0.05, 0.05),
    "shift_v": (-0.06, 0.06),
    "scale": (1.04, 1.22),
    "turn": (-0.07, 0.07),  # radians
    "breath": (-0.05, 0.05),  # movement of the diaphragm
    "arm_angle": (-0.6, 1.2),  # radians below the horizontal
    "penetration": (0.85, 1.35),  # optical thickness of the chest
    "gamma": (1.25, 1.65),
    "black": (0.02, 0.09),  # gray level
    "white": (0.88, 1.0),  # gray level
    "gradient_u": (-0.04, 0.04),
    "gradient_v": (-0.04, 0.04),
    "mottle": (0.006, 0.016),  # standard deviation in gray levels
}


@dataclass(frozen=True)
class Chest:
    """Normal chests. All arrays are `(n, size, size)` float32.

    Attributes:
        solid: optical thickness of tissue and bone without air; about 1 for the whole chest.
        air: reduction of the optical thickness by air.
        lungs: lung coverage of each pixel, in [0, 1].
        u, v: thorax coordinates.
        height: 0 at the lung apex, 1 at the diaphragm.
        lateral: 0 at the spine, 1 at the lateral ribs.
    """

    solid: np.ndarray
    air: np.ndarray
    lungs: np.ndarray
    u: np.ndarray
    v: np.ndarray
    height: np.ndarray
    lateral: np.ndarray


def sample_cases(children: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sample the anatomy of each child, and pose and exposure of each image.

    Args:
        children: `(n,)` int, index of the child of each image.
        rng: random generator.

    Returns:
        `(n,)` structured float32, one field per parameter of `_CHILD` and `_EXPOSURE`.
    """
    cases = np.zeros(len(children), dtype=[(name, np.float32) for name in (*_CHILD, *_EXPOSURE)])
    for name, (low, high) in _CHILD.items():
        cases[name] = rng.uniform(low, high, children.max(initial=-1) + 1)[children]
    for name, (low, high) in _EXPOSURE.items():
        cases[name] = rng.uniform(low, high, len(children))
    return cases


def smooth(x: np.ndarray) -> np.ndarray:
    """Return the smoothstep function: 0 below 0, 1 above 1, cubic in between."""
    x = np.asarray(np.clip(x, 0, 1))
    step: np.ndarray = x * x * (3 - 2 * x)
    return step


def to_pixels(u: np.ndarray, v: np.ndarray, cases: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Convert thorax coordinates, which broadcast with `cases`, to columns and rows in pixels."""
    cos, sin = np.cos(cases["turn"]), np.sin(cases["turn"])
    x, y = u * cases["scale"] * cases["aspect"], v * cases["scale"]
    column = cos * x - sin * y + cases["shift_u"]
    row = sin * x + cos * y + cases["shift_v"]
    return (column + 1) * (size / 2) - 0.5, (row + 1) * (size / 2) - 0.5


def _locate_pixels(cases: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `u` and `v` of every pixel, `(n, size, size)` each; the inverse of `to_pixels`."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / (size / 2) - 1).astype(np.float32)
    x, y = axis[None, None, :] - cases["shift_u"], axis[None, :, None] - cases["shift_v"]
    cos, sin = np.cos(cases["turn"]), np.sin(cases["turn"])
    return (cos * x + sin * y) / (cases["scale"] * cases["aspect"]), (cos * y - sin * x) / cases["scale"]


def draw_chest(cases: np.ndarray, size: int) -> Chest:
    """Draw the normal chests of `(n,)` cases from `sample_cases`, with `size` pixels per side."""
    cases = cases[:, None, None]
    u, v = _locate_pixels(cases, size)
    side = np.abs(u)
    rise = np.clip((cases["cage_base"] - v) / (cases["cage_base"] - cases["cage_top"]), 0, 1) ** 2
    cage = cases["cage_width"] * np.sqrt(1 - 0.35 * rise - 0.65 * rise * rise) + 1e-3
    lateral = side / cage
    lungs, height, dome = _draw_lungs(u, v, side, lateral, cases)
    heart = _draw_heart(u, v, cases)
    depth = np.sqrt(np.clip(1 - lateral * lateral, 0, 1))
    air = 0.64 * lungs * (0.35 + 0.65 * depth) * (1 - 0.85 * heart)
    solid = _draw_body(side, v, cage, cases) + _draw_ribs(v, lateral, depth, cases)
    solid += 0.09 * heart + 0.12 * smooth((v - dome) / 0.25) * depth
    bubble = 1 - ((u - cases["bubble_u"]) ** 2 + (1.6 * (v - dome - 0.17)) ** 2) / (cases["bubble"] ** 2 + 1e-4)
    solid -= 0.30 * smooth(bubble) * (cases["bubble"] > 0)
    rows = _span(v.min(axis=(0, 2)) < -0.12)
    solid[:, rows] += _draw_clavicles(side[:, rows], v[:, rows], cases)
    columns = _span(side.min(axis=(0, 1)) < 0.14)
    solid[..., columns] += _draw_spine(u[..., columns], v[..., columns], cases)
    return Chest(solid, air, lungs * (1 - heart), u, v, height, lateral)


def _span(near: np.ndarray) -> slice:
    """Return the slice of an axis that can contain a small structure; the rest is not drawn."""
    places = np.flatnonzero(near)
    return slice(places[0], places[-1] + 1) if len(places) else slice(0)


def _draw_lungs(
    u: np.ndarray, v: np.ndarray, side: np.ndarray, lateral: np.ndarray, cases: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the lung coverage in [0, 1], the height within the lungs, and `v` of the diaphragm."""
    top = cases["lung_top"] + 1.6 * (side - 0.27) ** 2
    dome = cases["dome_right"] + cases["breath"] + cases["dome_left"] * (u > 0)
    dome = dome + cases["dome_curve"] * (side - 0.24) ** 2
    lungs = smooth((0.97 - lateral) / 0.07) * smooth((v - top) / 0.05) * smooth((dome - v) / 0.035)
    return lungs, (v - top) / np.maximum(dome - top, 0.05), dome


def _draw_heart(u: np.ndarray, v: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """Return heart and great vessels as the share of the chest depth, in [0, 1]."""
    cos, sin = np.cos(cases["heart_tilt"]), np.sin(cases["heart_tilt"])
    du, dv = u - cases["heart_u"], v - cases["heart_v"]
    left = ((cos * du + sin * dv) / cases["heart_length"]) ** 2 + ((cos * dv - sin * du) / cases["heart_width"]) ** 2
    right = ((u + 0.05) / (0.62 * cases["heart_width"])) ** 2 + (dv / (0.9 * cases["heart_width"])) ** 2
    width = cases["mediastinum"] * (1 + 0.5 * smooth((v + 0.35) / 0.6)) + 0.15 * np.clip(-0.5 - v, 0, 0.3)
    middle = ((u - 0.02) / width) ** 2
    # The sum of squared inverses joins the three shapes smoothly.
    joined = sum(1 / (part * part + 0.01) for part in (left, right, middle))
    return smooth((1.15 - 1 / np.sqrt(joined)) / 0.5)


def _draw_body(side: np.ndarray, v: np.ndarray, cage: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """Return the optical thickness of trunk, shoulders, neck and arms, including bones."""
    flank = np.maximum(cage, 0.6 * cases["cage_width"]) + cases["wall"]
    trunk = (side / flank) ** 2 + (np.minimum(v + 0.45, 0) / 0.42) ** 2
    shoulders = (side / 0.92) ** 2 + ((v + 0.62) / 0.30) ** 2
    neck = (side / (cases["neck"] + 0.5 * np.clip(v + 0.95, 0, 1))) ** 2 + (np.clip(v + 0.8, 0, 1) / 0.3) ** 2
    squares = 0.66 * np.maximum(1 - trunk * trunk, 0)
    squares += 0.22 * np.maximum(1 - shoulders, 0) + 0.40 * np.maximum(1 - neck, 0)
    along_u, along_v = np.cos(cases["arm_angle"]), np.sin(cases["arm_angle"])
    du, dv = side - 0.74, v + 0.58
    along = np.clip(du * along_u + dv * along_v, 0, 1.5)
    across = (du - along * along_u) ** 2 + (dv - along * along_v) ** 2
    squares += 0.20 * np.maximum(1 - across / 0.18**2, 0)
    bone = np.sqrt(across) / (0.045 + 0.03 * np.clip(1 - along / 0.12, 0, 1))
    bone = smooth((1 - bone) / 0.3) * (0.6 + 0.4 * smooth((bone - 0.4) / 0.3))
    body: np.ndarray = np.sqrt(np.minimum(squares, 0.8)) + 0.18 * bone
    return body


def _draw_ribs(v: np.ndarray, lateral: np.ndarray, depth: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """Return the ribs as tilted rings: the posterior half is higher than the anterior half."""
    inside = smooth((1.03 - lateral) / 0.05) * smooth((v - cases["cage_top"]) / 0.12) * smooth((0.85 - v) / 0.3)
    drop = cases["rib_drop"] * depth
    obliquity = 0.75 + 0.25 / (0.25 + depth)
    total = np.zeros_like(v)
    for sign, share in ((1, 1.0), (-1, 0.55)):
        phase = (v + sign * drop) / cases["rib_spacing"] + cases["rib_phase"]
        distance = np.abs(phase - np.round(phase)) / (0.5 * cases["rib_width"])
        profile = smooth((1 - distance) / 0.35) * (0.65 + 0.35 * smooth((distance - 0.3) / 0.4))
        total += share * profile if sign > 0 else share * profile * smooth((lateral - 0.45) / 0.25)
    ribs: np.ndarray = total * obliquity * inside * cases["rib_strength"]
    return ribs


def _draw_spine(u: np.ndarray, v: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """Return the spine minus the air in the trachea."""
    offset = np.abs(u - cases["spine_bend"] * v * v) / cases["spine_width"]
    disk = np.cos(2 * np.pi / cases["vertebra"] * v)
    body = smooth((1.1 - offset) / 0.25) * (0.75 + 0.25 * smooth((disk + 0.9) / 0.5))
    pedicles = smooth((0.22 - np.abs(offset - 0.62)) / 0.2) * smooth((disk - 0.3) / 0.5)
    windpipe = smooth((0.045 - np.abs(u - 0.01)) / 0.02) * smooth((-0.22 - v) / 0.12)
    spine: np.ndarray = 0.10 * body + 0.06 * pedicles - 0.12 * windpipe
    return spine


def _draw_clavicles(side: np.ndarray, v: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """Return the clavicles and the edges of the scapulae."""
    s = side - 0.07
    course = cases["clavicle_v"] - cases["clavicle_rise"] * s + 0.05 * np.sin(9 * s)
    offset = np.abs(v - course) / (0.026 + 0.02 * s * s)
    bone = smooth((1 - offset) / 0.4) * (0.7 + 0.3 * smooth((offset - 0.3) / 0.4))
    blade = np.abs(side - 0.60 + 0.25 * (v + 0.45)) / 0.05
    edge = smooth((1 - blade) / 0.8) * smooth((v + 0.72) / 0.1) * smooth((-0.12 - v) / 0.2)
    bones: np.ndarray = 0.16 * bone * smooth(s / 0.03) * smooth((0.58 - s) / 0.06) + 0.05 * edge
    return bones
