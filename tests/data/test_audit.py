import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumoscope.data.audit import audit_dataset, find_near_duplicates
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.labels import THREE_CLASSES
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


def name_files(number: int) -> np.ndarray:
    return np.array([f"file-{row}" for row in range(number)])


def test_sound_data_has_no_findings(plain: Dataset) -> None:
    audit = audit_dataset(plain)
    assert audit.counts == {
        f"{split}/{name}": number for split, number in (("train", 15), ("test", 7)) for name in THREE_CLASSES
    }
    assert audit.normal_share == {"train": 1 / 3, "test": 1 / 3}
    assert audit.patients == plain.table.groupby("split")["patient"].nunique().to_dict()
    assert not (audit.exact_duplicates or audit.near_duplicates or audit.shared_patients or audit.shared_numbers)
    assert audit.sizes == [] and audit.unreadable == []
    assert not any("Label shift" in note or "(leak)" in note for note in audit.notes)
    for name, levels in audit.exposure.items():
        means = plain.images[(plain.table["subtype"] == name).to_numpy()].mean(axis=(1, 2))
        assert levels[2] == pytest.approx(np.median(means)) and levels == sorted(levels)


@pytest.mark.parametrize("change", [encode_again, brighten, raise_contrast, add_noise])
def test_changed_copies_are_near_duplicates(
    change: Callable[[np.ndarray], np.ndarray], plain: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [3, 20, 44]
    images = np.concatenate([plain.images, [change(plain.images[row]) for row in rows]])
    pairs = find_near_duplicates(images, name_files(len(images)))
    assert [pair[:2] for pair in pairs] == [(row, 66 + place) for place, row in enumerate(rows)]
    assert all(correlation > 0.975 for _, _, correlation in pairs)
    monkeypatch.setattr("pneumoscope.data.audit._PAIRS_AT_ONCE", 4 * len(images))
    monkeypatch.setattr("pneumoscope.data.audit._CORRELATIONS_AT_ONCE", 1)
    assert np.allclose(find_near_duplicates(images, name_files(len(images))), pairs, atol=1e-5)


def test_other_images_and_exact_copies_are_no_near_duplicates(plain: Dataset) -> None:
    assert find_near_duplicates(plain.images, name_files(len(plain)), max_distance=64) == []
    twice = np.concatenate([plain.images[:5], plain.images[:5]])
    assert find_near_duplicates(twice, np.tile(name_files(5), 2)) == []
    flat = np.stack([np.full((128, 128), level, np.uint8) for level in (0, 90, 255)])
    assert find_near_duplicates(flat, name_files(3)) == []


def test_leaks_come_first_and_are_noted(plain: Dataset) -> None:
    names, hashes = plain.table["name"], plain.table["sha256"]
    copies = [
        (plain.images[0], {"name": "train/again.jpeg", "sha256": hashes[0]}),
        (plain.images[1], {"name": "test/copy.jpeg", "sha256": hashes[1], "split": "test"}),
        (brighten(plain.images[2]), {"name": "train/brighter.jpeg", "sha256": "brighter"}),
        (encode_again(plain.images[3]), {"name": "test/smaller.jpeg", "sha256": "smaller", "split": "test"}),
    ]
    rows = pd.DataFrame([plain.table.iloc[0].to_dict() | row for _, row in copies])
    images = np.concatenate([plain.images, [pixels for pixels, _ in copies]])
    audit = audit_dataset(Dataset(images, pd.concat([plain.table, rows], ignore_index=True), plain.skipped))
    assert audit.exact_duplicates == [[names[1], "test/copy.jpeg"], [names[0], "train/again.jpeg"]]
    assert audit.near_duplicates == [[names[3], "test/smaller.jpeg"], [names[2], "train/brighter.jpeg"]]
    assert audit.shared_patients == [plain.table["patient"][0]]
    assert sum("across splits (leak)" in note for note in audit.notes) == 2


def test_reused_numbers_are_no_shared_patients(write_image: Callable[..., Path]) -> None:
    names = [
        *("train/PNEUMONIA/person1_bacteria_1.png", "train/PNEUMONIA/person2_virus_2.png"),
        *("train/PNEUMONIA/BACTERIA-77-0001.png", "val/PNEUMONIA/person3_virus_2.png"),
        *("test/PNEUMONIA/person1_virus_3.png", "test/PNEUMONIA/person3_virus_4.png"),
        *("test/PNEUMONIA/BACTERIA-77-0002.png", "train/NORMAL/IM-0001-0001.png"),
    ]
    root = [write_image(name, seed).parents[2] for seed, name in enumerate(names)].pop()
    (root / "train/NORMAL/empty.png").touch()
    audit = audit_dataset(load_dataset(root))
    assert audit.shared_numbers == ["person1", "person3"]
    assert audit.shared_patients == ["77"]
    assert audit.unreadable == [{"name": "train/NORMAL/empty.png", "reason": "empty file"}]
    assert audit.sizes == [{"width": 32, "height": 32, "count": 8}]
    assert audit.counts["val/viral"] == 1 and any(note.startswith("val has only 1 images") for note in audit.notes)
    assert any(note.startswith("Label shift") for note in audit.notes)


def test_data_without_splits_are_audited(write_image: Callable[..., Path]) -> None:
    write_image("NORMAL/a.png", 1)
    audit = audit_dataset(load_dataset(write_image("PNEUMONIA/b.png", 2).parents[1]))
    assert audit.counts == {"unsplit/normal": 1, "unsplit/unknown": 1}
    assert audit.normal_share == {"unsplit": 0.5} and audit.shared_patients == []
    assert any("no test split" in note for note in audit.notes)


@pytest.mark.real_data
def test_flaws_of_the_public_data_set(real_data: Path) -> None:
    audit = audit_dataset(load_dataset(real_data))
    inside_train = [group for group in audit.exact_duplicates if all(name.startswith("train/") for name in group)]
    assert sum(len(group) * (len(group) - 1) // 2 for group in inside_train) == 28
    assert audit.near_duplicates == [] and audit.shared_patients == [] and audit.unreadable == []
    assert [audit.counts[f"train/{name}"] for name in THREE_CLASSES] == [1341, 2530, 1345]
    in_test = sum(number for name, number in audit.counts.items() if name.startswith("test/"))
    assert len(audit.shared_numbers) == {OFFICIAL_TEST: 170, HALF_OF_TEST: 92}[in_test]
    assert any(note.startswith("Label shift: 25.7% of train") for note in audit.notes)
