"""Drawn chest phantoms with known lesions: data to try and test the whole package on, with ground truth.

A phantom is a drawing, never a radiograph, and nothing here imitates the film of a person: figures reached on
phantoms say that the machinery works, and nothing about children.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.phantoms.anatomy import Chest, draw_chest, sample_cases
from pneumoscope.phantoms.lesions import (
    Lesion,
    draw_consolidations,
    draw_interstitial,
    draw_texture,
    draw_vessels,
    sample_consolidations,
    sample_interstitial,
    sample_vessels,
)
from pneumoscope.progress import track

COMMENT = "Drawn phantom, not a radiograph. Research use only."
MIN_SIZE = 32
LUNG_SHARE = 0.5

# Arrays of this many pixels stay in the processor's cache while they are worked on.
_PIXELS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Phantoms:
    """Drawn chests; none shows a person.

    Attributes:
        images: `(n, size, size)` uint8, 0 = black.
        masks: `(n, size, size)` bool, the true lesion; empty for normals.
        lungs: `(n, size, size)` bool, the true lungs that neither heart nor diaphragm covers, lesions included.
        subtypes: `(n,)` str, `normal`, `bacterial` or `viral`.
        patients: `(n,)` str, the imagined child: `IM-0012` for normals, `person12` for the others.
    """

    images: np.ndarray
    masks: np.ndarray
    lungs: np.ndarray
    subtypes: np.ndarray
    patients: np.ndarray

    def __post_init__(self) -> None:
        if self.images.ndim != 3 or self.images.dtype != np.uint8:
            raise ValueError(f"images are {self.images.shape} {self.images.dtype}, expected (n, size, size) uint8")
        for name in ("masks", "lungs"):
            given = getattr(self, name)
            if given.shape != self.images.shape or given.dtype != bool:
                raise ValueError(f"{name} are {given.shape} {given.dtype}, expected {self.images.shape} bool")
        expected = (len(self.images),)
        if self.subtypes.shape != expected or self.patients.shape != expected:
            raise ValueError(
                f"subtypes are {self.subtypes.shape} and patients {self.patients.shape}, expected {expected} for both"
            )

    def __len__(self) -> int:
        return len(self.images)


def draw_phantoms(num_images: int, *, size: int = 256, seed: int = 0) -> Phantoms:
    """Draw chest phantoms, a third of each class, with 1 to 4 films a child.

    Shape of the chest and place of the lesion belong to the child; pose, breath and exposure to the film.

    Args:
        num_images: how many, 1 or more.
        size: side in pixels, 32 or more.
        seed: the same seed gives the same bytes.

    Raises:
        ValueError: if `num_images` or `size` is too small.

    Example:
        >>> phantoms = draw_phantoms(6, size=64, seed=1)
        >>> phantoms.images.shape, sorted(set(phantoms.subtypes.tolist()))
        ((6, 64, 64), ['bacterial', 'normal', 'viral'])
    """
    return _draw(num_images, size, np.random.default_rng(seed), first_patient=1)


def write_phantoms(
    out_dir: str | os.PathLike[str], *, num_train: int, num_test: int, size: int = 256, seed: int = 0
) -> Path:
    """Write phantoms as a folder laid out and named like the Kaggle data set.

    Images go to `<split>/NORMAL` and `<split>/PNEUMONIA`, the true masks of their lesions to
    `masks/<split>/<class>` as PNG (255 = lesion). Every image says in its JPEG comment that it is drawn.

    Args:
        out_dir: folder to write, new or empty.
        num_train, num_test: images of each split; no child stands in both.
        size, seed: see `draw_phantoms`.

    Returns:
        `out_dir`.

    Raises:
        CollectionError: if `out_dir` holds anything, so that phantoms never mix with radiographs.
        ValueError: see `draw_phantoms`.
    """
    root = Path(out_dir)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise CollectionError(f"{root} is not empty; phantoms go to a new or empty folder, name another")
    splits = _draw_splits(num_train, num_test, size, seed)
    root.mkdir(parents=True, exist_ok=True)
    (root / "README.txt").write_text(
        f"{COMMENT}\n{RESEARCH_USE_ONLY}\n\n"
        "Every image in this folder was drawn by a program (pneumoscope, write_phantoms). None shows a person.\n"
        "Names and folders follow the data set 'Chest X-Ray Images (Pneumonia)' so that the same tools read both.\n"
        "masks/ holds the true lesion of each image (255 = lesion, all 0 for normals).\n"
        f"Drawn with num_train={num_train}, num_test={num_test}, size={size}, seed={seed}.\n",
        encoding="utf-8",
    )
    for split, phantoms in splits.items():
        names = _name_files(split, phantoms)
        for number in track(range(len(phantoms)), f"Writing {split} phantoms"):
            path, mask_path = root / names[number], (root / "masks" / names[number]).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            mask_path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(phantoms.images[number]).save(path, quality=95, comment=COMMENT)
            Image.fromarray(phantoms.masks[number]).save(mask_path)
    return root


def shows_phantoms(dataset: Dataset) -> bool:
    """Return whether images of a dataset are phantoms, drawn in memory or read from where `write_phantoms` wrote.

    The first image of each split and class is looked at.
    """
    return any(path == "" or _is_phantom(path) for path in dataset.table.groupby(["split", "label"])["path"].first())


def _is_phantom(path: str) -> bool:
    with Image.open(path) as image:
        return bool(image.info.get("comment") == COMMENT.encode())


def phantom_dataset(*, num_train: int, num_test: int, size: int = 128, seed: int = 0) -> Dataset:
    """Draw a dataset of phantoms in memory, with masks, split into `train` and `test` by child.

    Args:
        num_train, num_test: images of each split.
        size, seed: see `draw_phantoms`.

    Raises:
        ValueError: see `draw_phantoms`.
    """
    splits = _draw_splits(num_train, num_test, size, seed)
    tables = [
        pd.DataFrame(
            {
                "path": "",
                "name": _name_files(split, phantoms),
                "sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in phantoms.images],
                "label": np.where(phantoms.subtypes == "normal", "normal", "pneumonia"),
                "subtype": phantoms.subtypes,
                "patient": phantoms.patients,
                "split": split,
            }
        )
        for split, phantoms in splits.items()
    ]
    images = np.concatenate([phantoms.images for phantoms in splits.values()])
    masks = np.concatenate([phantoms.masks for phantoms in splits.values()])
    skipped = pd.DataFrame({"name": [], "reason": []}, dtype=str)
    return Dataset(images, pd.concat(tables, ignore_index=True).astype(str), skipped, masks)


def _draw_splits(num_train: int, num_test: int, size: int, seed: int) -> dict[str, Phantoms]:
    """Return the phantoms of `train` and `test`, whose children are numbered on."""
    train = _draw(num_train, size, np.random.default_rng([seed, 0]), first_patient=1)
    test = _draw(num_test, size, np.random.default_rng([seed, 1]), first_patient=1 + len(set(train.patients)))
    return {"train": train, "test": test}


def _name_files(split: str, phantoms: Phantoms) -> list[str]:
    """Return the path of each image below the root, in the naming scheme of the Kaggle release."""
    films: dict[str, int] = {}
    names = []
    for subtype, patient in zip(phantoms.subtypes.tolist(), phantoms.patients.tolist(), strict=True):
        # The scheme counts the films of a healthy child, but all films of a kind of pneumonia.
        counted = patient if subtype == "normal" else subtype
        films[counted] = number = films.get(counted, 0) + 1
        if subtype == "normal":
            names.append(f"{split}/NORMAL/{patient}-{number:04d}.jpeg")
        else:
            kind = {"bacterial": "bacteria", "viral": "virus"}[subtype]
            names.append(f"{split}/PNEUMONIA/{patient}_{kind}_{number}.jpeg")
    return names


def _draw(num_images: int, size: int, rng: np.random.Generator, *, first_patient: int) -> Phantoms:
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}, expected 1 or more")
    if size < MIN_SIZE:
        raise ValueError(f"size is {size}, expected {MIN_SIZE} or more: smaller lesions cannot be seen")
    subtypes, children = _plan_films(num_images, rng)
    cases = sample_cases(children, rng)
    vessels = [branches[children] for branches in sample_vessels(children.max() + 1, rng)]
    consolidations = sample_consolidations(children, rng)
    patterns, streaks = sample_interstitial(children, rng)
    images = np.empty((num_images, size, size), np.uint8)
    masks = np.zeros((num_images, size, size), bool)
    lungs = np.empty((num_images, size, size), bool)
    # glibc gives every freed array back to the system, and asks for it anew, until it has seen a large one freed:
    # with this line drawing takes half the time.
    np.empty(30 << 20, np.uint8)
    chunks = [
        rows
        for subtype in THREE_CLASSES
        for rows in _split_rows(np.flatnonzero(subtypes == subtype), max(1, _PIXELS_AT_ONCE // size**2))
    ]
    for rows in track(chunks, "Drawing phantoms"):
        chest = draw_chest(cases[rows], size)
        tree = draw_vessels([branches[rows] for branches in vessels], cases[rows], size)
        lesion = None
        if subtypes[rows[0]] == "bacterial":
            lesion = draw_consolidations(consolidations[rows], chest, rng)
        elif subtypes[rows[0]] == "viral":
            lesion = draw_interstitial(patterns[rows], streaks[rows], chest, cases[rows], rng)
        lungs[rows] = chest.lungs > LUNG_SHARE
        images[rows] = _expose(chest, tree, lesion, cases[rows], rng)
        if lesion is not None:
            masks[rows] = lesion.mask
    numbers = children + first_patient
    patients = [f"IM-{n:04d}" if kind == "normal" else f"person{n}" for n, kind in zip(numbers, subtypes, strict=True)]
    return Phantoms(images, masks, lungs, subtypes, np.array(patients))


def _split_rows(rows: np.ndarray, most: int) -> list[np.ndarray]:
    return [rows[start : start + most] for start in range(0, len(rows), most)]


def _plan_films(num_images: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return class and child of each film, `(num_images,)` each, in shuffled order."""
    children: list[int] = []
    classes: list[int] = []
    for index in range(3):
        wanted = (num_images + 2 - index) // 3
        while wanted:
            films = min(int(rng.integers(1, 5)), wanted)
            children += [children[-1] + 1 if children else 0] * films
            classes += [index] * films
            wanted -= films
    order = rng.permutation(num_images)
    # Children are numbered anew, so that their number does not tell the class.
    return np.array(THREE_CLASSES)[classes][order], rng.permutation(children[-1] + 1)[children][order]


def _expose(
    chest: Chest, vessels: np.ndarray, lesion: Lesion | None, cases: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the film, `(n, size, size)` uint8: beam through matter, then the response of film and scanner."""
    num_images, size = chest.u.shape[:2]
    films = cases[:, None, None]
    thickness = chest.solid + 0.012 * draw_texture(num_images, size, 14, rng)
    if lesion is None:
        thickness += chest.lungs * vessels - chest.air
    else:
        # Where the air is gone the tree shows dark: bronchi run with the vessels and still hold air.
        thickness += chest.lungs * (vessels * (1 - 2.4 * lesion.filled) + lesion.lines)
        thickness -= chest.air * (1 - lesion.filled)
    np.maximum(thickness, 0, out=thickness)
    grey = (1 - np.exp(-films["penetration"] * thickness)) / (1 - np.exp(-1.15 * films["penetration"]))
    grey = np.minimum(grey, 1) ** films["gamma"]
    grey += films["gradient_u"] * chest.u + films["gradient_v"] * chest.v
    grey = films["black"] + (films["white"] - films["black"]) * grey
    grey += films["mottle"] * rng.standard_normal(grey.shape, dtype=np.float32)
    return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
