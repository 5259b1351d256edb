import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumoscope.data.audit import audit_dataset, find_near_duplicates
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.phantoms.phantom import phantom_dataset

OFFICIAL_TEST = 624
HALF_OF_TEST = 319


def encode_again(pixels: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((200, 200)).save(buffer, "JPEG", quality=40)
    return np.asarray(Image.open(buffer).resize((128, 128)))


def brighten(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels.astype(int) + 20, 0, 255).astype(np.uint8)


def raise_contrast(pixels: np.ndarray) -> np.ndarray:
    return np.clip((pixels.astype(float) - 128) * 1.15 + 128, 0, 255).astype(np.uint8)


def add_noise(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def plain() -> Dataset:
    return phantom_dataset(num_train=45, num_test=21, seed=5)


def extend(dataset: Dataset, rows: list[tuple[np.ndarray, dict]]) -> Dataset:
    """Return the dataset with more images, whose rows differ from the first row as told."""
    first = dataset.table.iloc[0].to_dict()
    more = [{**first, "sha256": f"other-{number}", **row} for number, (_, row) in enumerate(rows)]
    table = pd.concat([dataset.table, pd.DataFrame(more)], ignore_index=True)
    return Dataset(np.concatenate([dataset.images, np.stack([pixels for pixels, _ in rows])]), table, dataset.skipped)


def test_sound_data_is_found_sound(plain: Dataset) -> None:
    audit = audit_dataset(plain)
    assert audit.counts == {
        f"{split}/{name}": number
        for split, number in (("train", 15), ("test", 7))
        for name in ("normal", "bacterial", "viral")
    }
    assert audit.normal_share == {"train": 1 / 3, "test": 1 / 3}
    assert audit.patients == {
        split: plain.table[plain.table["split"] == split]["patient"].nunique() for split in ("train", "test")
    }
    assert not (audit.exact_duplicates or audit.near_duplicates or audit.shared_patients or audit.shared_numbers)
    assert audit.sizes == [] and audit.unreadable == []
    assert not any("Prior shift" in note or "leaks" in note for note in audit.notes)
    for name, levels in audit.exposure.items():
        means = plain.images[(plain.table["subtype"] == name).to_numpy()].mean(axis=(1, 2))
        assert levels[2] == pytest.approx(np.median(means)) and levels == sorted(levels)


@pytest.mark.parametrize("change", [encode_again, brighten, raise_contrast, add_noise])
def test_same_film_in_another_file_is_found(change: Callable, plain: Dataset) -> None:
    copied = [3, 20, 44]
    images = np.concatenate([plain.images, [change(plain.images[row]) for row in copied]])
    found = find_near_duplicates(images, np.array([f"file-{row}" for row in range(len(images))]))
    assert [(pair.first, pair.second) for pair in found] == [(row, 66 + place) for place, row in enumerate(copied)]
    assert all(pair.correlation > 0.975 for pair in found)


def test_other_films_are_no_pair_however_near_their_hashes(plain: Dataset) -> None:
    files = np.array([f"file-{row}" for row in range(len(plain))])
    assert find_near_duplicates(plain.images, files, max_distance=64) == []


def test_exact_copies_are_no_near_duplicates(plain: Dataset) -> None:
    images = np.concatenate([plain.images[:5], plain.images[:5]])
    assert find_near_duplicates(images, np.array([str(row % 5) for row in range(10)])) == []


def test_pairs_are_the_same_however_the_work_is_cut(plain: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([plain.images, [brighten(image) for image in plain.images[:9]]])
    files = np.array([f"file-{row}" for row in range(len(images))])
    whole = find_near_duplicates(images, files)
    monkeypatch.setattr("pneumoscope.data.audit._PAIRS_AT_ONCE", 4 * len(images))
    monkeypatch.setattr("pneumoscope.data.audit._CORRELATIONS_AT_ONCE", 1)
    cut = find_near_duplicates(images, files)
    assert [(pair.first, pair.second) for pair in cut] == [(row, 66 + row) for row in range(9)]
    assert [pair.correlation for pair in cut] == pytest.approx([pair.correlation for pair in whole], abs=1e-5)


def test_images_of_one_gray_level_do_no_harm() -> None:
    images = np.stack([np.full((128, 128), level, np.uint8) for level in (0, 90, 255)])
    assert find_near_duplicates(images, np.array(["a", "b", "c"])) == []


def test_leaks_come_first_and_are_told(plain: Dataset) -> None:
    first, other = plain.table.iloc[0], plain.table.iloc[1]
    dataset = extend(
        plain,
        [
            (plain.images[0], {"name": "train/again.jpeg", "sha256": first["sha256"]}),
            (plain.images[1], {"name": "test/copy.jpeg", "sha256": other["sha256"], "split": "test"}),
            (brighten(plain.images[2]), {"name": "train/brighter.jpeg"}),
            (encode_again(plain.images[3]), {"name": "test/smaller.jpeg", "split": "test"}),
        ],
    )
    audit = audit_dataset(dataset)
    assert audit.exact_duplicates == [[other["name"], "test/copy.jpeg"], [first["name"], "train/again.jpeg"]]
    assert audit.near_duplicates == [
        [plain.table["name"][3], "test/smaller.jpeg"],
        [plain.table["name"][2], "train/brighter.jpeg"],
    ]
    assert audit.shared_patients == [first["patient"]]
    assert sum("across splits, which leaks" in note for note in audit.notes) == 2


def test_numbers_in_train_and_test_are_told_apart_from_patients(write_film: Callable[..., Path]) -> None:
    for seed, name in enumerate(
        (
            "train/PNEUMONIA/person1_bacteria_1.png",
            "train/PNEUMONIA/person2_virus_2.png",
            "train/PNEUMONIA/BACTERIA-77-0001.png",
            "val/PNEUMONIA/person3_virus_2.png",
            "test/PNEUMONIA/person1_virus_3.png",
            "test/PNEUMONIA/person3_virus_4.png",
            "test/PNEUMONIA/BACTERIA-77-0002.png",
            "train/NORMAL/IM-0001-0001.png",
        )
    ):
        root = write_film(name, seed).parents[2]
    (root / "train/NORMAL/empty.png").touch()
    audit = audit_dataset(load_dataset(root))
    assert audit.shared_numbers == ["person1", "person3"]
    assert audit.shared_patients == ["77"]
    assert audit.unreadable == [{"name": "train/NORMAL/empty.png", "reason": "empty file"}]
    assert audit.sizes == [{"width": 32, "height": 32, "count": 8}]
    assert audit.counts["val/viral"] == 1 and any(note.startswith("val holds 1 images") for note in audit.notes)
    assert any(note.startswith("Prior shift") for note in audit.notes)


def test_data_without_splits_is_audited(write_film: Callable[..., Path]) -> None:
    write_film("NORMAL/a.png", 1)
    root = write_film("PNEUMONIA/b.png", 2).parents[1]
    audit = audit_dataset(load_dataset(root))
    assert audit.counts == {"unsplit/normal": 1, "unsplit/unknown": 1}
    assert audit.normal_share == {"unsplit": 0.5} and audit.shared_patients == []
    assert any("no test split" in note for note in audit.notes)


@pytest.mark.real_data
def test_known_flaws_of_the_public_data_set(real_data: Path) -> None:
    audit = audit_dataset(load_dataset(real_data))
    inside_train = [group for group in audit.exact_duplicates if all(name.startswith("train/") for name in group)]
    assert sum(len(group) * (len(group) - 1) // 2 for group in inside_train) == 28
    assert audit.near_duplicates == [] and audit.shared_patients == [] and audit.unreadable == []
    assert {name: audit.counts[f"train/{name}"] for name in ("normal", "bacterial", "viral")} == {
        "normal": 1341,
        "bacterial": 2530,
        "viral": 1345,
    }
    in_test = sum(number for name, number in audit.counts.items() if name.startswith("test/"))
    assert len(audit.shared_numbers) == {OFFICIAL_TEST: 170, HALF_OF_TEST: 92}[in_test]
    assert any(note.startswith("Prior shift: 25.7% of train") for note in audit.notes)
