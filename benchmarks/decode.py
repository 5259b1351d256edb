"""How long a file takes to become a 128 x 128 array: `load_image` against what is usually written.

    python benchmarks/decode.py [--data DIR] [--originals DIR] [--repeats 5] [--num-files 100]

Without --data, phantoms of 224 x 224 are written to a temporary folder; without --originals, phantoms of
1500 x 1500 stand for files of full size. The methods take turns on the same files, and the table shows medians.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

import pneumoscope

SIZE = 128


def decode_in_full(path: Path) -> np.ndarray:
    """Decode every pixel, then shrink: `(128, 128)` float32 in [0, 1]."""
    with Image.open(path) as image:
        shrunk = image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(shrunk, dtype=np.float32) / 255


def decode_with_keras(path: Path) -> np.ndarray:
    """The decoder of Keras' own notebooks: `(128, 128, 1)` float32 in [0, 1]."""
    import keras

    image = keras.utils.load_img(path, color_mode="grayscale", target_size=(SIZE, SIZE), interpolation="bilinear")
    return keras.utils.img_to_array(image) / 255


def measure(paths: list[Path], *, repeats: int) -> dict[str, float]:
    """Return the median milliseconds a file of each method."""
    methods: dict[str, Callable[[Path], np.ndarray]] = {
        "pneumoscope.load_image": lambda path: pneumoscope.load_image(path, size=SIZE),
        "Pillow, full decode": decode_in_full,
        "keras.utils.load_img": decode_with_keras,
    }
    for method in methods.values():
        method(paths[0])
    runs: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            start = time.perf_counter()
            for path in paths:
                method(path)
            runs[name].append(1000 * (time.perf_counter() - start) / len(paths))
    return {name: statistics.median(times) for name, times in runs.items()}


def find_files(folder: Path, *, num_files: int) -> list[Path]:
    """Return up to `num_files` radiographs spread evenly over `folder`."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg", ".png"))
    if not paths:
        raise SystemExit(f"no JPEG or PNG below {folder}")
    return paths[:: max(1, len(paths) // num_files)][:num_files]


def draw_files(folder: Path, *, num_files: int, size: int) -> Path:
    """Write drawn radiographs as JPEG and return the folder."""
    folder.mkdir()
    for i, image in enumerate(pneumoscope.draw_phantoms(num_files, size=size, seed=0).images):
        Image.fromarray(image).save(folder / f"{i:04}.jpeg", quality=90)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="radiographs of small size")
    parser.add_argument("--originals", type=Path, help="radiographs of full size")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--num-files", type=int, default=100)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        small = given.data or draw_files(Path(scratch) / "small", num_files=given.num_files, size=224)
        large = given.originals or draw_files(Path(scratch) / "large", num_files=10, size=1500)
        for title, folder in (("small files", small), ("full-size files", large)):
            paths = find_files(folder, num_files=given.num_files)
            with Image.open(paths[len(paths) // 2]) as image:
                width, height = image.size
            milliseconds = measure(paths, repeats=given.repeats)
            ours = milliseconds["pneumoscope.load_image"]
            print(f"{title}: {len(paths)}, such as {width} x {height}")
            for name, value in milliseconds.items():
                print(f"  {name:26}{value:8.2f} ms a file{value / ours:8.2f} x ours")


if __name__ == "__main__":
    main()
