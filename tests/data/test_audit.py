from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.audit import audit_dataset
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.labels import LabelSet
from pneumoscope.phantoms.phantom import phantom_dataset

OFFICIAL_TEST = 624
HALF_OF_TEST = 319


def brighten(pixels):
    return np.clip(pixels.astype(int) + 20, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def plain():
    return phantom_dataset(num_train=45, num_test=21, seed=5)


def test_sound_data_has_no_findings(plain):
    audit = audit_dataset(plain)
    assert audit.counts == {
        f"{split}/{name}": number for split, number in (("train", 15), ("test", 7)) for name in KERMANY_LABELS.classes
    }
    assert audit.negative_share == {"train": 1 / 3, "test": 1 / 3}
    assert audit.patients == plain.table.groupby("split")["patient"].nunique().to_dict()
    assert not (audit.exact_duplicates or audit.near_duplicates or audit.shared_patients or audit.shared_numbers)
    assert audit.sizes == [] and audit.unreadable == []
    assert not any("Label shift" in note or "(leak)" in note for note in audit.notes)
    for name, levels in audit.exposure.items():
        means = plain.images[(plain.table["label"] == name).to_numpy()].mean(axis=(1, 2))
        assert levels[2] == pytest.approx(np.median(means)) and levels == sorted(levels)


def test_leaks_come_first_and_are_noted(plain):
    names, hashes = plain.table["name"], plain.table["sha256"]
    copies = [
        (plain.images[0], {"name": "train/again.jpeg", "sha256": hashes[0]}),
        (plain.images[1], {"name": "test/copy.jpeg", "sha256": hashes[1], "split": "test"}),
        (brighten(plain.images[2]), {"name": "train/brighter.jpeg", "sha256": "brighter"}),
        (brighten(plain.images[3]), {"name": "test/smaller.jpeg", "sha256": "smaller", "split": "test"}),
    ]
    rows = pd.DataFrame([plain.table.iloc[0].to_dict() | row for _, row in copies])
    images = np.concatenate([plain.images, [pixels for pixels, _ in copies]])
    table = pd.concat([plain.table, rows], ignore_index=True)
    audit = audit_dataset(replace(plain, images=images, table=table, masks=None))
    assert audit.exact_duplicates == [[names[1], "test/copy.jpeg"], [names[0], "train/again.jpeg"]]
    assert audit.near_duplicates == [[names[3], "test/smaller.jpeg"], [names[2], "train/brighter.jpeg"]]
    assert audit.shared_patients == [plain.table["patient"][0]]
    assert sum("across splits (leak)" in note for note in audit.notes) == 2


def test_reused_numbers_are_no_shared_patients(write_image):
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


def test_data_without_splits_are_audited(write_image):
    write_image("NORMAL/a.png", 1)
    audit = audit_dataset(load_dataset(write_image("PNEUMONIA/b.png", 2).parents[1]))
    assert audit.counts == {"unsplit/normal": 1, "unsplit/pneumonia": 1}
    assert audit.negative_share == {"unsplit": 0.5} and audit.shared_patients == []
    assert any("no test split" in note for note in audit.notes)


def test_findings_and_contradictions_are_counted():
    labels, splits = ["a|b", "b", "", "", "a"], ["train", "train", "train", "test", "test"]
    table = pd.DataFrame({"label": labels, "split": splits, "uncertain": "", "path": "", "patient": [*"12345"]})
    table = table.assign(name=[*"vwxyz"], sha256=["h", "i", "j", "k", "h"])
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64), dtype=np.uint8)
    skipped = pd.DataFrame({"name": [], "reason": []})
    audit = audit_dataset(Dataset(images, table, skipped, LabelSet(("a", "b"), multi_label=True)))
    expected = {"train/a": 1, "train/b": 2, "train/no finding": 1, "test/a": 1, "test/no finding": 1}
    assert audit.counts == expected and audit.negative_share == {}
    assert any(note.startswith("Label shift: 66.7% of train and 0.0% of test are b") for note in audit.notes)
    assert any("1 images, such as v = z" in note for note in audit.notes) and "No image of test is b." in audit.notes


@pytest.mark.real_data
def test_flaws_of_the_public_data_set(real_data):
    audit = audit_dataset(load_dataset(real_data))
    inside_train = [group for group in audit.exact_duplicates if all(name.startswith("train/") for name in group)]
    assert sum(len(group) * (len(group) - 1) // 2 for group in inside_train) == 28
    assert audit.near_duplicates == [] and audit.shared_patients == [] and audit.unreadable == []
    assert [audit.counts[f"train/{name}"] for name in KERMANY_LABELS.classes] == [1341, 2530, 1345]
    in_test = sum(number for name, number in audit.counts.items() if name.startswith("test/"))
    assert len(audit.shared_numbers) == {OFFICIAL_TEST: 170, HALF_OF_TEST: 92}[in_test]
    assert any(note.startswith("Label shift: 25.7% of train") for note in audit.notes)
