"""Chest phantoms: drawn images with known lesions, to test the package."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.collection import COLUMNS
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import CollectionError
from pneumoscope.io.write import write_text
from pneumoscope.labels import SEPARATOR, LabelSet
from pneumoscope.phantoms.anatomy import Chest, draw_chest, sample_cases
from pneumoscope.phantoms.lesions import (
    Lesion,
    draw_consolidations,
    draw_effusions,
    draw_interstitial,
    draw_nodules,
    draw_texture,
    draw_vessels,
    join_lesions,
    sample_consolidations,
    sample_effusions,
    sample_interstitial,
    sample_nodules,
    sample_vessels,
)
from pneumoscope.progress import track

COMMENT = "Drawn phantom, not a radiograph. Research use only."
PHANTOM_NOTE = (
    "Phantoms are drawn images with known lesions. They test the software; their metrics do not apply to radiographs."
)
# Classes with a finding are in the order of `_sample_findings`.
PHANTOM_SETS = {
    "kermany": KERMANY_LABELS,
    "five-class": LabelSet(("normal", "consolidation", "interstitial", "nodule", "effusion"), "normal"),
    "multi-label": LabelSet(("Consolidation", "Interstitial", "Nodule", "Effusion"), "No Finding", multi_label=True),
}
_LAYOUTS = {
    "kermany": "Folders and file names follow 'Chest X-Ray Images (Pneumonia)'. The same tools read both.",
    "five-class": "Folders are <split>/<class>/<patient>.",
    "multi-label": "The labels are in manifest.csv.",
}
MIN_SIZE = 32
_FINDING_SHARE = 0.35  # of the children with each finding, in the multi-label set
LUNG_SHARE = 0.5

# Arrays of this number of pixels fit in the cache of the processor.
_PIXELS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Phantoms:
    """Drawn chest radiographs.

    Attributes:
        images: `(n, size, size)` uint8, 0 = black.
        masks: `(n, size, size)` bool, the lesions; empty for normals.
        lungs: `(n, size, size)` bool, the lungs with their lesions, without the parts behind heart and diaphragm.
        labels: `(n,)` str, the class; in the multi-label set the findings, joined by `|`.
        patients: `(n,)` str, the simulated child, such as `patient12`; in the Kermany set `IM-0012` or `person12`.
    """

    images: np.ndarray
    masks: np.ndarray
    lungs: np.ndarray
    labels: np.ndarray
    patients: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def draw_phantoms(num_images: int, *, size: int = 256, seed: int = 0, label_set: str = "kermany") -> Phantoms:
    """Draw chest phantoms, with 1 to 4 images per child.

    Images of one child share the shape of the chest and the place of the lesion. Pose, breath and exposure vary.

    Args:
        num_images: number of images, 1 or more.
        size: side in pixels, 32 or more.
        seed: seed of all random choices; the same seed gives the same bytes.
        label_set: `kermany`, `five-class` or `multi-label`, see `PHANTOM_SETS`. Classes have equal shares. Findings of
            the multi-label set are independent, and each is present in 35 % of the children.

    Raises:
        ValueError: if `num_images` or `size` is too small, or there is no such label set.

    Example:
        >>> phantoms = draw_phantoms(6, size=64, seed=1)
        >>> phantoms.images.shape, sorted(set(phantoms.labels.tolist()))
        ((6, 64, 64), ['bacterial', 'normal', 'viral'])
        >>> sorted(set(draw_phantoms(12, size=64, seed=1, label_set="multi-label").labels.tolist()))
        ['', 'Consolidation|Interstitial|Effusion', 'Consolidation|Nodule', 'Nodule']
    """
    return _draw(num_images, size, np.random.default_rng(seed), first_patient=1, label_set=label_set)


def write_phantoms(
    out_dir: str | os.PathLike[str],
    *,
    num_train: int,
    num_test: int,
    size: int = 256,
    seed: int = 0,
    label_set: str = "kermany",
) -> Path:
    """Write phantoms to a folder, and return `out_dir`.

    The default set has the layout and file names of the Kaggle data set: `<split>/NORMAL` and `<split>/PNEUMONIA`. The
    five-class set is written to `<split>/<class>/<patient>`, the multi-label set to `<split>/<patient>` with its labels
    in `manifest.csv`. Masks of the lesions are written to `masks/` as PNG (255 = lesion). A JPEG comment marks every
    image as drawn.

    Args:
        out_dir: new or empty folder.
        num_train, num_test: number of images of each split; splits share no child.
        size, seed, label_set: see `draw_phantoms`.

    Raises:
        CollectionError: if `out_dir` is not empty. Phantoms must not mix with radiographs.
        ValueError: see `draw_phantoms`.
    """
    root = Path(out_dir)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise CollectionError(f"{root} is not empty; phantoms need a new or empty folder")
    dataset = phantom_dataset(num_train=num_train, num_test=num_test, size=size, seed=seed, label_set=label_set)
    write_text(
        root / "README.txt",
        f"{COMMENT}\n{RESEARCH_USE_ONLY}\n\n"
        f"{PHANTOM_NOTE}\n"
        "A program (pneumoscope, write_phantoms) drew every image in this folder. No image shows a person.\n"
        f"{_LAYOUTS[label_set]}\n"
        "masks/ holds the mask of each lesion (255 = lesion, all 0 for normals).\n"
        f"Drawn with num_train={num_train}, num_test={num_test}, size={size}, seed={seed}, label_set={label_set}.\n",
    )
    if dataset.label_set.multi_label:
        labels = dataset.table["label"].replace("", dataset.label_set.negative)
        table = dataset.table[["patient", "split"]].assign(path=dataset.table["name"], label=labels)
        write_text(root / "manifest.csv", table.to_csv(index=False))
    assert dataset.masks is not None
    rows = zip(dataset.table["name"], dataset.images, dataset.masks, strict=True)
    for name, image, mask in track(rows, "Writing phantoms", total=len(dataset)):
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
        with suppress(OSError), Image.open(path) as image:  # DICOM is not read by Pillow, and phantoms are JPEG
            if image.info.get("comment") == COMMENT.encode():
                return True
    return False


def phantom_dataset(
    *, num_train: int, num_test: int, size: int = 128, seed: int = 0, label_set: str = "kermany"
) -> Dataset:
    """Draw a dataset of phantoms in memory, with masks and the splits `train` and `test`.

    See `write_phantoms` for the parameters and `draw_phantoms` for errors.
    """
    rngs = [np.random.default_rng([seed, split]) for split in (0, 1)]
    train = _draw(num_train, size, rngs[0], first_patient=1, label_set=label_set)
    test = _draw(num_test, size, rngs[1], first_patient=1 + len(set(train.patients)), label_set=label_set)
    splits = {"train": train, "test": test}
    images, masks, labels, patients = (
        np.concatenate([getattr(phantoms, name) for phantoms in splits.values()])
        for name in ("images", "masks", "labels", "patients")
    )
    columns = {
        "name": [name for split, phantoms in splits.items() for name in _name_files(split, phantoms)],
        "sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in images],
        "label": labels,
        "patient": patients,
        "split": np.repeat(list(splits), [len(phantoms) for phantoms in splits.values()]),
    }
    table = pd.DataFrame({column: columns.get(column, "") for column in COLUMNS}, index=range(len(images)), dtype=str)
    skipped = pd.DataFrame({"name": [], "reason": []}, dtype=str)
    return Dataset(images, table, skipped, PHANTOM_SETS[label_set], masks)


def _name_files(split: str, phantoms: Phantoms) -> list[str]:
    """Return the path of each image relative to the root; the Kermany set is named as on Kaggle."""
    counts: Counter[str] = Counter()
    names = []
    for label, patient in zip(phantoms.labels.tolist(), phantoms.patients.tolist(), strict=True):
        cause = {"bacterial": "bacteria", "viral": "virus"}.get(label, "")
        counted = label if cause else patient  # Kaggle numbers normals by child, and pneumonias by subtype
        counts[counted] += 1
        if cause:
            names.append(f"{split}/PNEUMONIA/{patient}_{cause}_{counts[counted]}.jpeg")
        elif patient.startswith("IM-"):
            names.append(f"{split}/NORMAL/{patient}-{counts[counted]:04d}.jpeg")
        else:
            folder = f"{label}/" if label in PHANTOM_SETS["five-class"].classes else ""
            names.append(f"{split}/{folder}{patient}/{counts[counted]}.jpeg")
    return names


def _draw(num_images: int, size: int, rng: np.random.Generator, *, first_patient: int, label_set: str) -> Phantoms:
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}, expected 1 or more")
    if size < MIN_SIZE:
        raise ValueError(f"size is {size}, expected {MIN_SIZE} or more: lesions are invisible in smaller images")
    if label_set not in PHANTOM_SETS:
        raise ValueError(f"label_set is {label_set!r}, expected {', '.join(PHANTOM_SETS)}")
    labels, present, children = _plan_images(num_images, PHANTOM_SETS[label_set], rng)
    cases = sample_cases(children, rng)
    vessels = [branches[children] for branches in sample_vessels(children.max() + 1, rng)]
    findings = _sample_findings(present.shape[1], children, cases, rng)
    images = np.empty((num_images, size, size), np.uint8)
    masks = np.zeros((num_images, size, size), bool)
    lungs = np.empty((num_images, size, size), bool)
    # glibc returns freed arrays to the system until a large array has been freed. This line halves the drawing time.
    np.empty(30 << 20, np.uint8)
    at_once = max(1, _PIXELS_AT_ONCE // size**2)
    codes = present @ (1 << np.arange(present.shape[1]))  # images with the same findings are drawn together
    rows_of = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    chunks = [rows[start : start + at_once] for rows in rows_of for start in range(0, len(rows), at_once)]
    for rows in track(chunks, "Drawing phantoms"):
        chest = draw_chest(cases[rows], size)
        tree = draw_vessels([branches[rows] for branches in vessels], cases[rows], size)
        lesions = [draw(rows, chest) for draw, found in zip(findings, present[rows[0]], strict=True) if found]
        lesion = join_lesions(lesions) if lesions else None
        lungs[rows] = chest.lungs > LUNG_SHARE
        images[rows] = _expose(chest, tree, lesion, cases[rows], rng)
        if lesion is not None:
            masks[rows] = lesion.mask
    numbers = (children + first_patient).tolist()
    patients = [f"patient{number}" for number in numbers]
    if label_set == "kermany":
        patients = [
            f"IM-{n:04d}" if name == "normal" else f"person{n}" for n, name in zip(numbers, labels, strict=True)
        ]
    return Phantoms(images, masks, lungs, labels, np.array(patients))


def _sample_findings(
    number: int, children: np.ndarray, cases: np.ndarray, rng: np.random.Generator
) -> list[Callable[[np.ndarray, Chest], Lesion]]:
    """Sample the findings of all children; return functions that draw each finding in some rows of the images."""
    consolidations = sample_consolidations(children, rng)
    patterns, streaks = sample_interstitial(children, rng)
    findings: list[Callable[[np.ndarray, Chest], Lesion]] = [
        lambda rows, chest: draw_consolidations(consolidations[rows], chest, rng),
        lambda rows, chest: draw_interstitial(patterns[rows], streaks[rows], chest, cases[rows], rng),
    ]
    if number > len(findings):
        nodules, effusions = sample_nodules(children, rng), sample_effusions(children, rng)
        findings.append(lambda rows, chest: draw_nodules(nodules[rows], chest, rng))
        findings.append(lambda rows, chest: draw_effusions(effusions[rows], chest, rng))
    return findings


def _plan_images(
    num_images: int, label_set: LabelSet, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the labels `(n,)` str, the findings `(n, findings)` bool and the child `(n,)` of each image, shuffled."""
    children: list[int] = []
    classes: list[int] = []
    num_classes = 1 if label_set.multi_label else len(label_set.classes)
    for index in range(num_classes):
        missing = (num_images + num_classes - 1 - index) // num_classes
        while missing:
            number = min(int(rng.integers(1, 5)), missing)
            children += [children[-1] + 1 if children else 0] * number
            classes += [index] * number
            missing -= number
    order = rng.permutation(num_images)
    # New random numbers, so that the number of a child does not depend on the class.
    shuffled = rng.permutation(children[-1] + 1)[children][order]
    if not label_set.multi_label:
        numbers = np.array(classes)[order]
        return np.array(label_set.classes)[numbers], numbers[:, None] == np.arange(1, num_classes), shuffled
    present = (rng.random((len(set(children)), len(label_set.classes))) < _FINDING_SHARE)[shuffled]
    labels = [SEPARATOR.join(np.array(label_set.classes)[row]) for row in present]
    return np.array(labels), present, shuffled


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
