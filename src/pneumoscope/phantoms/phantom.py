"""Chest phantoms: drawn images with known lesions, to test the package."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.dataset import Dataset
from pneumoscope.errors import CollectionError
from pneumoscope.io.write import write_text
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
PHANTOM_NOTE = (
    "Phantoms are drawn images with known lesions. They test the software; their metrics do not apply to radiographs."
)
MIN_SIZE = 32
LUNG_SHARE = 0.5

# Arrays of this number of pixels fit in the cache of the processor.
_PIXELS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Phantoms:
    """Drawn chest radiographs.

    Attributes:
        images: `(n, size, size)` uint8, 0 = black.
        masks: `(n, size, size)` bool, the lesion; empty for normals.
        lungs: `(n, size, size)` bool, the lungs with their lesions, without the parts behind heart and diaphragm.
        subtypes: `(n,)` str, `normal`, `bacterial` or `viral`.
        patients: `(n,)` str, the simulated child: `IM-0012` for normals, `person12` for the others.
    """

    images: np.ndarray
    masks: np.ndarray
    lungs: np.ndarray
    subtypes: np.ndarray
    patients: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def draw_phantoms(num_images: int, *, size: int = 256, seed: int = 0) -> Phantoms:
    """Draw chest phantoms, one third of each class, with 1 to 4 images per child.

    Images of one child share the shape of the chest and the place of the lesion. Pose, breath and exposure vary.

    Args:
        num_images: number of images, 1 or more.
        size: side in pixels, 32 or more.
        seed: seed of all random choices; the same seed gives the same bytes.

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
    """Write phantoms to a folder with the layout and file names of the Kaggle data set, and return `out_dir`.

    Images are written to `<split>/NORMAL` and `<split>/PNEUMONIA`. The masks of their lesions are written to
    `masks/<split>/<class>` as PNG (255 = lesion). A JPEG comment marks every image as drawn.

    Args:
        out_dir: new or empty folder.
        num_train, num_test: number of images of each split; splits share no child.
        size, seed: see `draw_phantoms`.

    Raises:
        CollectionError: if `out_dir` is not empty. Phantoms must not mix with radiographs.
        ValueError: see `draw_phantoms`.
    """
    root = Path(out_dir)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise CollectionError(f"{root} is not empty; phantoms need a new or empty folder")
    write_text(
        root / "README.txt",
        f"{COMMENT}\n{RESEARCH_USE_ONLY}\n\n"
        f"{PHANTOM_NOTE}\n"
        "A program (pneumoscope, write_phantoms) drew every image in this folder. No image shows a person.\n"
        "Folders and file names follow the data set 'Chest X-Ray Images (Pneumonia)'. The same tools read both.\n"
        "masks/ holds the mask of each lesion (255 = lesion, all 0 for normals).\n"
        f"Drawn with num_train={num_train}, num_test={num_test}, size={size}, seed={seed}.\n",
    )
    for split, phantoms in _draw_splits(num_train, num_test, size, seed).items():
        rows = zip(_name_files(split, phantoms), phantoms.images, phantoms.masks, strict=True)
        for name, image, mask in track(rows, f"Writing {split} phantoms", total=len(phantoms)):
            for path in (root / name, root / "masks" / name):
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / name, quality=95, comment=COMMENT)
            Image.fromarray(mask).save((root / "masks" / name).with_suffix(".png"))
    return root


def shows_phantoms(dataset: Dataset) -> bool:
    """Return whether a dataset holds phantoms; checks the first image of each split and class."""
    for path in dataset.table.groupby(["split", "label"])["path"].first():
        if path == "":
            return True
        with Image.open(path) as image:
            if image.info.get("comment") == COMMENT.encode():
                return True
    return False


def phantom_dataset(*, num_train: int, num_test: int, size: int = 128, seed: int = 0) -> Dataset:
    """Draw a dataset of phantoms in memory, with masks and the splits `train` and `test`.

    See `write_phantoms` for the parameters and `draw_phantoms` for errors.
    """
    splits = _draw_splits(num_train, num_test, size, seed)
    images, masks, subtypes, patients = (
        np.concatenate([getattr(phantoms, name) for phantoms in splits.values()])
        for name in ("images", "masks", "subtypes", "patients")
    )
    table = pd.DataFrame(
        {
            "path": "",
            "name": [name for split, phantoms in splits.items() for name in _name_files(split, phantoms)],
            "sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in images],
            "label": np.where(subtypes == "normal", "normal", "pneumonia"),
            "subtype": subtypes,
            "patient": patients,
            "split": np.repeat(list(splits), [len(phantoms) for phantoms in splits.values()]),
        }
    )
    return Dataset(images, table.astype(str), pd.DataFrame({"name": [], "reason": []}, dtype=str), masks)


def _draw_splits(num_train: int, num_test: int, size: int, seed: int) -> dict[str, Phantoms]:
    """Return the phantoms of `train` and `test`, with consecutive numbers of children."""
    rngs = [np.random.default_rng([seed, split]) for split in (0, 1)]
    train = _draw(num_train, size, rngs[0], first_patient=1)
    first_patient = 1 + len(set(train.patients))
    test = _draw(num_test, size, rngs[1], first_patient=first_patient)
    return {"train": train, "test": test}


def _name_files(split: str, phantoms: Phantoms) -> list[str]:
    """Return the path of each image relative to the root, named as in the Kaggle data set."""
    counts: Counter[str] = Counter()
    names = []
    for subtype, patient in zip(phantoms.subtypes.tolist(), phantoms.patients.tolist(), strict=True):
        # Kaggle numbers normals by child, and pneumonias by subtype.
        counted = patient if subtype == "normal" else subtype
        counts[counted] += 1
        if subtype == "normal":
            names.append(f"{split}/NORMAL/{patient}-{counts[counted]:04d}.jpeg")
        else:
            cause = {"bacterial": "bacteria", "viral": "virus"}[subtype]
            names.append(f"{split}/PNEUMONIA/{patient}_{cause}_{counts[counted]}.jpeg")
    return names


def _draw(num_images: int, size: int, rng: np.random.Generator, *, first_patient: int) -> Phantoms:
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}, expected 1 or more")
    if size < MIN_SIZE:
        raise ValueError(f"size is {size}, expected {MIN_SIZE} or more: lesions are invisible in smaller images")
    subtypes, children = _plan_images(num_images, rng)
    cases = sample_cases(children, rng)
    vessels = [branches[children] for branches in sample_vessels(children.max() + 1, rng)]
    consolidations = sample_consolidations(children, rng)
    patterns, streaks = sample_interstitial(children, rng)
    images = np.empty((num_images, size, size), np.uint8)
    masks = np.zeros((num_images, size, size), bool)
    lungs = np.empty((num_images, size, size), bool)
    # glibc returns freed arrays to the system until a large array has been freed. This line halves the drawing time.
    np.empty(30 << 20, np.uint8)
    at_once = max(1, _PIXELS_AT_ONCE // size**2)
    rows_of = [np.flatnonzero(subtypes == subtype) for subtype in THREE_CLASSES]
    chunks = [rows[start : start + at_once] for rows in rows_of for start in range(0, len(rows), at_once)]
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
    patients = [f"IM-{n:04d}" if name == "normal" else f"person{n}" for n, name in zip(numbers, subtypes, strict=True)]
    return Phantoms(images, masks, lungs, subtypes, np.array(patients))


def _plan_images(num_images: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return class and child of each image, `(num_images,)` each, in shuffled order."""
    children: list[int] = []
    classes: list[int] = []
    for index in range(3):
        missing = (num_images + 2 - index) // 3
        while missing:
            number = min(int(rng.integers(1, 5)), missing)
            children += [children[-1] + 1 if children else 0] * number
            classes += [index] * number
            missing -= number
    order = rng.permutation(num_images)
    # New random numbers, so that the number of a child does not depend on the class.
    return np.array(THREE_CLASSES)[classes][order], rng.permutation(children[-1] + 1)[children][order]


def _expose(
    chest: Chest, vessels: np.ndarray, lesion: Lesion | None, cases: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return `(n, size, size)` uint8 images: attenuation of the beam, then response of the detector."""
    num_images, size = chest.u.shape[:2]
    exposures = cases[:, None, None]
    thickness = chest.solid + 0.012 * draw_texture(num_images, size, 14, rng)
    if lesion is None:
        thickness += chest.lungs * vessels - chest.air
    else:
        # Air bronchograms: in a consolidation, bronchi run along the vessels and still hold air.
        thickness += chest.lungs * (vessels * (1 - 2.4 * lesion.filled) + lesion.lines)
        thickness -= chest.air * (1 - lesion.filled)
    np.maximum(thickness, 0, out=thickness)
    gray = (1 - np.exp(-exposures["penetration"] * thickness)) / (1 - np.exp(-1.15 * exposures["penetration"]))
    gray = np.minimum(gray, 1) ** exposures["gamma"]
    gray += exposures["gradient_u"] * chest.u + exposures["gradient_v"] * chest.v
    gray = exposures["black"] + (exposures["white"] - exposures["black"]) * gray
    gray += exposures["mottle"] * rng.standard_normal(gray.shape, dtype=np.float32)
    image: np.ndarray = np.rint(np.clip(gray, 0, 1) * 255).astype(np.uint8)
    return image
