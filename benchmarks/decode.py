"""Time to decode a file to a 128 x 128 array: `load_image` against Pillow and Keras.

python benchmarks/decode.py [--data DIR] [--originals DIR] [--repeats 5] [--num-files 100]

Without --data, phantoms of 224 x 224 are used; without --originals, phantoms of 1500 x 1500 as full-size files. The
methods take turns on the same files; the table shows medians.
"""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image
from timing import parse_options, print_table, take_turns, write_phantom_files

import pneumoscope

SIZE = 128


def decode_in_full(path: Path) -> np.ndarray:
    """Decode every pixel, then resize: `(128, 128)` float32 in [0, 1]."""
    with Image.open(path) as image:
        resized = image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32) / 255


def decode_with_keras(path: Path) -> np.ndarray:
    """Decode as Keras' own notebooks do: `(128, 128, 1)` float32 in [0, 1]."""
    import keras

    image = keras.utils.load_img(path, color_mode="grayscale", target_size=(SIZE, SIZE), interpolation="bilinear")
    return np.asarray(keras.utils.img_to_array(image)) / 255


def decode_all(decode: Callable[[Path], np.ndarray], paths: list[Path]) -> None:
    for path in paths:
        decode(path)


def main() -> None:
    options = parse_options(__doc__, data=None, originals=None, repeats=5, num_files=100)
    decoders: dict[str, Callable[[Path], np.ndarray]] = {
        "pneumoscope.load_image": partial(pneumoscope.load_image, size=SIZE),
        "Pillow, full decode": decode_in_full,
        "keras.utils.load_img": decode_with_keras,
    }
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        small = options.data or write_phantom_files(scratch / "small", num_files=options.num_files, size=224)
        large = options.originals or write_phantom_files(scratch / "large", num_files=10, size=1500)
        for title, folder in (("small", small), ("full-size", large)):
            paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg", ".png"))
            paths = paths[:: max(1, len(paths) // options.num_files)][: options.num_files]
            methods = {name: partial(decode_all, decode, paths) for name, decode in decoders.items()}
            take_turns(methods, 1)  # imports and the file cache
            seconds = take_turns(methods, options.repeats)
            per_file = {name: [1000 * run / len(paths) for run in runs] for name, runs in seconds.items()}
            print_table(f"{len(paths)} {title} files, ms each", per_file, "pneumoscope.load_image")


if __name__ == "__main__":
    main()
