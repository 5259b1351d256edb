import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from pneumoscope.data import duplicates
from pneumoscope.data.dataset import load_dataset
from pneumoscope.data.duplicates import find_known, find_near_duplicates, hash_images


def encode_again(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((200, 200)).save(buffer, "JPEG", quality=40)
    return np.asarray(Image.open(buffer).resize((128, 128)))


def brighten(pixels):
    return np.clip((pixels.astype(float) - 128) * 1.15 + 148, 0, 255).astype(np.uint8)


def add_noise(pixels):
    return np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


def name_files(number):
    return np.arange(number).astype(str)


def test_the_hash_is_the_sign_of_the_lowest_frequencies(phantoms):
    small = np.asarray(Image.fromarray(phantoms.images[0]).resize((64, 64), Image.Resampling.LANCZOS), dtype=float)
    lowest = dctn(small, type=2)[:16, :16]
    bits = np.unpackbits(hash_images(phantoms.images[:1]).view(np.uint8))
    assert bits.astype(bool).tolist() == (lowest > np.median(lowest)).ravel().tolist()


@pytest.mark.parametrize("change", [encode_again, brighten, add_noise])
def test_changed_copies_are_found(change, phantoms, monkeypatch):
    rows = [3, 20, 44]
    copies = np.stack([change(phantoms.images[row]) for row in rows])
    images = np.concatenate([phantoms.images, copies])
    pairs = find_near_duplicates(images, name_files(len(images)))
    assert [pair[:2] for pair in pairs] == [(row, len(phantoms) + place) for place, row in enumerate(rows)]
    assert all(0 <= distance <= duplicates.MAX_DISTANCE for _, _, distance in pairs)
    monkeypatch.setattr(duplicates, "_PAIRS_AT_ONCE", 4 * len(images))
    assert find_near_duplicates(images, name_files(len(images))) == pairs
    hashes = hash_images(phantoms.images)
    assert find_known(hash_images(copies), hashes).all()
    assert np.flatnonzero(find_known(hashes, hash_images(copies))).tolist() == rows
    assert not find_known(hashes, hashes[:0]).any()


def test_other_images_and_exact_copies_are_no_near_duplicates(phantoms):
    twice = np.concatenate([phantoms.images, phantoms.images[:5]])
    assert find_near_duplicates(twice, np.append(name_files(len(phantoms)), name_files(5))) == []


def test_training_images_are_written_beside_a_model(phantoms, tmp_path):
    duplicates.write_known_images(phantoms.train, tmp_path / "known.npz")
    sha256, hashes = duplicates.read_known_images(tmp_path / "known.npz")
    assert sha256.tolist() == phantoms.train.table["sha256"].tolist()
    copy = add_noise(phantoms.train.images[4])[None]
    assert find_known(hash_images(np.concatenate([copy, phantoms.test.images[:1]])), hashes).tolist() == [True, False]
    assert duplicates.read_known_images(tmp_path / "missing.npz") == (None, None)


@pytest.mark.real_data
def test_different_radiographs_are_no_duplicates(real_data):
    train, test = (load_dataset(real_data / split, size=128) for split in ("train", "test"))
    assert not find_known(hash_images(test.images), hash_images(train.images)).any()
    assert find_near_duplicates(train.images, train.table["sha256"].to_numpy()) == []
