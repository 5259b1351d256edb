from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pneumoscope.data import dataset as dataset_module
from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.image import load_image
from pneumoscope.errors import CollectionError
from pneumoscope.labels import BINARY_CLASSES, THREE_CLASSES

Writer = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, write_image: Writer) -> Path:
    write_image("images/train/NORMAL/IM-0001-0001.png", 1)
    write_image("images/train/PNEUMONIA/person1_virus_6.png", 2)
    write_image("images/train/PNEUMONIA/other.png", 3)
    (tmp_path / "images/train/NORMAL/broken.jpeg").write_bytes(b"\xff\xd8broken")
    return tmp_path / "images"


def test_images_are_in_the_order_of_the_table(folder: Path) -> None:
    dataset = load_dataset(folder, size=32)
    assert dataset.images.shape == (3, 32, 32)
    for name, image in zip(dataset.table["name"], dataset.images, strict=True):
        np.testing.assert_array_equal(image, load_image(folder / name, size=32))
    assert dataset.skipped["name"].tolist() == ["train/NORMAL/broken.jpeg"]


def test_labels_follow_the_classes(folder: Path) -> None:
    dataset = load_dataset(folder, size=32)
    by_name = dict(zip(dataset.table["name"], dataset.labels(THREE_CLASSES), strict=True))
    assert by_name["train/PNEUMONIA/person1_virus_6.png"] == 2
    assert by_name["train/PNEUMONIA/other.png"] == -1
    assert sorted(dataset.labels(BINARY_CLASSES)) == [0, 1, 1]


def test_cache_is_used_until_a_file_changes(
    folder: Path, tmp_path: Path, write_image: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "train/NORMAL/broken.jpeg").unlink()
    first = load_dataset(folder, size=32, cache_dir=tmp_path / "cache")
    decoded: list[str] = []
    decode = dataset_module._decode
    monkeypatch.setattr(dataset_module, "_decode", lambda path, size: decoded.append(path) or decode(path, size))
    second = load_dataset(folder, size=32, cache_dir=tmp_path / "cache")
    assert decoded == []
    np.testing.assert_array_equal(first.images, second.images)
    write_image("images/train/NORMAL/IM-0001-0001.png", 9)
    third = load_dataset(folder, size=32, cache_dir=tmp_path / "cache")
    assert [Path(path).name for path in decoded] == ["IM-0001-0001.png"]
    assert (third.images != first.images).any()


def test_damaged_cache_is_replaced(folder: Path, tmp_path: Path) -> None:
    load_dataset(folder, size=32, cache_dir=tmp_path / "cache")
    (cache,) = (tmp_path / "cache").iterdir()
    cache.write_bytes(cache.read_bytes()[:100])
    assert len(load_dataset(folder, size=32, cache_dir=tmp_path / "cache")) == 3


def test_no_readable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "NORMAL").mkdir()
    (tmp_path / "NORMAL/a.jpeg").write_text("no image")
    with pytest.raises(CollectionError, match=r"NORMAL/a.jpeg: neither JPEG nor PNG"):
        load_dataset(tmp_path)


def test_select_keeps_rows_and_masks_aligned(phantoms: Dataset) -> None:
    part = phantoms.select(np.array([5, 2]))
    assert part.table["name"].tolist() == phantoms.table["name"].iloc[[5, 2]].tolist()
    assert part.masks is not None
    assert phantoms.masks is not None
    np.testing.assert_array_equal(part.masks, phantoms.masks[[5, 2]])


def test_shapes_are_checked(phantoms: Dataset) -> None:
    with pytest.raises(ValueError, match="expected"):
        Dataset(phantoms.images.astype(float), phantoms.table, phantoms.skipped)
    with pytest.raises(ValueError, match="differ in number"):
        Dataset(phantoms.images[:3], phantoms.table, phantoms.skipped)
