import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data import cache
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.decode import decode_files
from pneumoscope.data.image import load_image
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.errors import CollectionError
from pneumoscope.labels import LabelSet

FINDINGS = LabelSet(("Effusion", "Nodule"), "No Finding", multi_label=True)


@pytest.fixture
def folder(tmp_path, write_image):
    write_image("images/train/NORMAL/IM-0001-0001.png", 1)
    write_image("images/train/PNEUMONIA/person1_virus_6.png", 2)
    write_image("images/train/PNEUMONIA/other.png", 3)
    (tmp_path / "images/train/NORMAL/broken.jpeg").write_bytes(b"\xff\xd8broken")
    (tmp_path / "images/train/NORMAL/page.jpg").write_text("<!doctype html><html><body>Not found</body></html>")
    return tmp_path / "images"


@pytest.fixture
def decoded(monkeypatch):
    """Return the list of the files that are decoded, in order."""
    names: list[str] = []

    def decode(paths, *, size):
        names.extend(Path(path).name for path in paths)
        return decode_files(paths, size=size)

    monkeypatch.setattr(cache, "decode_files", decode)
    return names


def make_findings():
    labels, uncertain = ["Effusion|Nodule", "", "nodule"], ["", "Effusion", ""]
    table = pd.DataFrame({"name": ["a", "b", "c"], "label": labels, "uncertain": uncertain, "split": "train"})
    images = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 16, 16), np.uint8)
    return Dataset(images, table, pd.DataFrame(), FINDINGS)


@pytest.mark.parametrize("on_disk", [False, True])
def test_images_are_in_the_order_of_the_table(folder, on_disk, monkeypatch):
    monkeypatch.setattr(cache, "MAX_IN_MEMORY", 2000 if on_disk else 3 * 32 * 32 * 2)
    dataset = load_dataset(folder, size=32)
    assert dataset.images.shape == (3, 32, 32) and isinstance(dataset.images, np.memmap) == on_disk
    for name, image in zip(dataset.table["name"], dataset.images, strict=True):
        np.testing.assert_array_equal(image, load_image(folder / name, size=32))
    reasons = dict(zip(dataset.skipped["name"], dataset.skipped["reason"], strict=True))
    assert "no image by its content" in reasons["train/NORMAL/page.jpg"] and len(reasons) == 2
    shuffled = dataset.select(np.array([2, 0, 1]))
    assert isinstance(shuffled.images, np.memmap) == on_disk
    np.testing.assert_array_equal(shuffled.images, np.asarray(dataset.images)[[2, 0, 1]])


def test_labels_follow_the_classes(folder):
    dataset = load_dataset(folder, size=32)
    by_name = dict(zip(dataset.table["name"], dataset.labels(), strict=True))
    assert by_name["train/PNEUMONIA/person1_virus_6.png"] == 2
    assert by_name["train/PNEUMONIA/other.png"] == -1
    assert sorted(dataset.labels(KERMANY_LABELS.binary())) == [0, 1, 1]
    assert sorted(dataset.targets.tolist()) == [[-1, -1, -1], [0, 0, 1], [1, 0, 0]]


def test_findings_that_a_dataset_does_not_list_are_unknown():
    dataset = make_findings()
    assert dataset.labels().tolist() == dataset.targets.tolist() == [[1, 1], [-1, 0], [0, 1]]
    other = LabelSet(("Mass", "EFFUSION"), multi_label=True)
    assert dataset.labels(other).tolist() == [[-1, 1], [-1, -1], [-1, 0]]


def test_cache_is_used_until_a_file_changes(folder, tmp_path, write_image, decoded, monkeypatch):
    for name in ("broken.jpeg", "page.jpg"):
        (folder / "train/NORMAL" / name).unlink()
    monkeypatch.setattr(cache, "MAX_IN_MEMORY", 0)
    first = load_dataset(folder, size=32, cache_dir=tmp_path / "cache")
    decoded.clear()
    second = load_dataset(folder, size=32, cache_dir=tmp_path / "cache")
    assert decoded == [] and isinstance(second.images, np.memmap)
    np.testing.assert_array_equal(first.images, second.images)
    write_image("images/train/NORMAL/IM-0001-0001.png", 9)
    third = load_dataset(folder, size=32, cache_dir=tmp_path / "cache")
    assert decoded == ["IM-0001-0001.png"]
    for name, image in zip(third.table["name"], third.images, strict=True):
        np.testing.assert_array_equal(image, load_image(folder / name, size=32))


@pytest.mark.parametrize("damaged", ["raw", "sha256"])
def test_damaged_cache_is_completed(folder, tmp_path, damaged, decoded):
    expected = load_dataset(folder, size=32, cache_dir=tmp_path / "cache").images
    (path,) = (tmp_path / "cache").glob(f"*.{damaged}")
    path.write_bytes(path.read_bytes()[:-10])
    decoded.clear()
    again = load_dataset(folder, size=32, cache_dir=tmp_path / "cache").images
    assert len(decoded) == 3  # the damaged image, and the two files that cannot be read
    np.testing.assert_array_equal(again, expected)


@pytest.mark.integration
def test_killed_run_continues(tmp_path, write_image, decoded):
    for number in range(6):
        write_image(f"images/train/{'NORMAL' if number % 2 else 'VIRAL'}/{number}.png", number)
    script = """
        import os, signal, sys
        from pneumoscope.data import cache
        from pneumoscope.data.dataset import load_dataset
        add = cache.ImageCache.add
        def add_and_die(self, digest, image):
            add(self, digest, image)
            if len(self.rows) == 4:
                self._index.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        cache.ImageCache.add = add_and_die
        load_dataset(sys.argv[1], size=128, cache_dir=sys.argv[2])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "images"), str(tmp_path / "cache")]
    assert subprocess.run(command, env=dict(os.environ), check=False).returncode == -signal.SIGKILL
    dataset = load_dataset(tmp_path / "images", size=128, cache_dir=tmp_path / "cache")
    assert len(decoded) == 2
    for path, image in zip(dataset.table["path"], dataset.images, strict=True):
        np.testing.assert_array_equal(image, load_image(path, size=128))


def test_dicom_is_loaded_if_its_header_describes_a_frontal_chest(tmp_path, make_dicom, image):
    elements: dict[str, dict[str, object]] = {"pa": {"ViewPosition": "PA"}, "ll": {"ViewPosition": "LL"}}
    elements |= {"hand": {"BodyPartExamined": "HAND"}, "cut": {}}
    for number, (name, options) in enumerate(elements.items()):
        path = tmp_path / "set" / ("NORMAL" if number % 2 else "VIRAL") / f"{name}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = make_dicom(image, bits=12, **options)
        path.write_bytes(data[: len(data) // 2] if name == "cut" else data)
    dataset = load_dataset(tmp_path / "set", size=32)
    assert dataset.table["name"].tolist() == ["VIRAL/pa.dcm"]
    np.testing.assert_array_equal(dataset.images[0], load_image(tmp_path / "set/VIRAL/pa.dcm", size=32))
    reasons = dict(zip(dataset.skipped["name"], dataset.skipped["reason"], strict=True))
    assert "is lateral" in reasons["NORMAL/ll.dcm"] and "hand" in reasons["VIRAL/hand.dcm"]
    assert "NORMAL/cut.dcm" in reasons


def test_no_readable_file_is_an_error(tmp_path):
    for name in ("NORMAL", "VIRAL"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpeg").write_text("no image")
    with pytest.raises(CollectionError, match=r"NORMAL/a.jpeg: no image by its content"):
        load_dataset(tmp_path)


def test_select_keeps_rows_and_masks_aligned(phantoms):
    for rows in (np.array([5, 2]), slice(4, 9), np.arange(len(phantoms)) % 7 == 0, -1):
        part, names = phantoms[rows], phantoms.table["name"].to_numpy()[rows]
        assert part.table["name"].tolist() == np.atleast_1d(names).tolist() and len(part) == len(part.table)
        assert part.masks is not None and phantoms.masks is not None
        np.testing.assert_array_equal(part.masks, phantoms.masks[rows].reshape(part.images.shape))
    assert len(list(phantoms[:3])) == 3
    assert len(phantoms.train) + len(phantoms.val) + len(phantoms.test) == len(phantoms)


def test_shapes_are_checked(phantoms):
    with pytest.raises(ValueError, match="expected"):
        Dataset(phantoms.images.astype(float), phantoms.table, phantoms.skipped, phantoms.label_set)
    with pytest.raises(ValueError, match="expected one per image"):
        Dataset(phantoms.images[:3], phantoms.table, phantoms.skipped, phantoms.label_set)


def test_images_of_a_known_class_go_to_tensorflow(phantoms):
    pytest.importorskip("tensorflow")
    few = phantoms[:5]
    few.table.loc[1, "label"] = "pneumonia"
    batches = list(few.to_tf().batch(3))
    assert few.to_tf().cardinality() == 4 and batches[0][0].shape == (3, 128, 128, 1)
    assert np.concatenate([labels for _, labels in batches]).tolist() == np.delete(few.labels(), 1).tolist()
    np.testing.assert_array_equal(batches[0][0][1, ..., 0], few.images[2])
    assert [label.numpy().tolist() for _, label in make_findings().to_tf()] == [[1, 1], [-1, 0], [0, 1]]


def test_images_go_to_torch():
    torch = pytest.importorskip("torch")
    images, labels = next(iter(torch.utils.data.DataLoader(make_findings().to_torch(), batch_size=3)))
    assert images.shape == (3, 1, 16, 16) and images.dtype == torch.float32
    assert labels.tolist() == [[1, 1], [-1, 0], [0, 1]]
