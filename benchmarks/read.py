"""How fast a radiograph is read: `pneumoscope read` against Keras `predict` and a GradientTape Grad-CAM.

    python benchmarks/read.py [--data DIR] [--num-files 400] [--repeats 7]

Without --data, phantoms of 1500 x 1300 stand for radiographs of full size. One table each for: the first answer of a
cold process; a warm full reading (decode, probabilities, heat-map, embedding, neighbors, anomaly score); a batch of
files against decoding them alone on as many threads, by our decoder, which reduces films meanwhile, and by
Pillow in full, by the clock and by what it costs of a core; and the memory that a short and a long batch reach.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image

from pneumoscope.inference.batch import BatchSettings, find_files, read_files
from pneumoscope.inference.decode import decode_radiograph
from pneumoscope.inference.reader import Reader
from pneumoscope.phantoms.phantom import draw_phantoms

KERAS_ONCE = """
import sys, numpy as np, keras
from PIL import Image
from pneumoscope.models.architectures.compact_resnet import build_compact_resnet
from pneumoscope.models.architectures.reference import build_three_class
image = keras.utils.img_to_array(keras.utils.load_img(sys.argv[1], color_mode='grayscale', target_size=(128, 128)))
build = {'three_class': build_three_class, 'default': build_compact_resnet}[sys.argv[2]]
print(build().predict(image[None], verbose=0))
"""
MEMORY = """
import sys
from pneumoscope.inference.batch import BatchSettings, find_files, read_files
from pneumoscope.inference.reader import Reader
paths = find_files([sys.argv[1]]) * int(sys.argv[2])
count = sum(1 for _ in read_files(Reader.open(num_threads=1), paths, BatchSettings()))
with open("/proc/self/status") as status:
    print(count, next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--num-files", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = find_files([str(options.data)]) if options.data else write_films(Path(folder))
        paths = [paths[number % len(paths)] for number in range(options.num_files)]
        print_cold(paths[0], options.repeats)
        print_warm(paths[0], 20 * options.repeats)
        print_batch(paths, max(3, options.repeats // 2))
        print_memory(Path(paths[0]).parent)


def write_films(folder: Path) -> list[str]:
    for number, image in enumerate(draw_phantoms(16, size=512, seed=0).images):
        Image.fromarray(image).resize((1500, 1300)).save(folder / f"{number:02d}.jpeg", quality=92)
    return find_files([str(folder)])


def print_cold(path: str, repeats: int) -> None:
    commands = {
        "pneumoscope read one.jpeg": [str(Path(sys.executable).with_name("pneumoscope")), "read", path, "--json"],
        "Keras, build and predict": [
            sys.executable,
            "-c",
            KERAS_ONCE,
            path,
            Reader.open().models.cards.classifier.architecture,
        ],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    print_table("cold process, seconds", {name: statistics.median(found) for name, found in seconds.items()}, 1)


def print_warm(path: str, repeats: int) -> None:
    reader = Reader.open()

    def read() -> None:
        image, objections = decode_radiograph(path)
        reader.read(image[None], [path], objections=[objections])
        reader.draw_heatmaps(image[None], ["pneumonia"])

    instead = prepare_keras(path, reader.models.cards.classifier.architecture, reader.layers[-1])
    methods = {"pneumoscope, full reading": read, "Keras predict + Grad-CAM": instead}
    print_table("warm, milliseconds (median)", {name: take(method, repeats) for name, method in methods.items()}, 1)


def prepare_keras(path: str, architecture: str, layer: str) -> Callable[[], None]:
    """Return what a notebook does for one image: probabilities, and a heat-map of its last convolutional layer."""
    import keras
    import tensorflow as tf

    from pneumoscope.models.architectures.compact_resnet import build_compact_resnet
    from pneumoscope.models.architectures.reference import build_three_class

    model = {"three_class": build_three_class, "default": build_compact_resnet}[architecture]()
    both = keras.Model(model.input, [model.get_layer(layer).output, model.output])

    def read() -> None:
        loaded = keras.utils.load_img(path, color_mode="grayscale", target_size=(128, 128), interpolation="bilinear")
        image = keras.utils.img_to_array(loaded)[None]
        decision = int(model.predict(image, verbose=0).argmax())
        with tf.GradientTape() as tape:
            cells, outputs = both(image)
            score = outputs[:, decision]
        weights = tf.reduce_mean(tape.gradient(score, cells), axis=(1, 2), keepdims=True)
        tf.nn.relu(tf.reduce_sum(weights * cells, axis=-1)).numpy()

    return read


def take(method: Callable[[], None], repeats: int) -> float:
    """Return the median milliseconds of a method that was called before."""
    method()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        method()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def print_batch(paths: list[str], repeats: int) -> None:
    reader, cores = Reader.open(num_threads=1), os.cpu_count() or 1

    def decode_all(decode: Callable[[str], object]) -> None:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(decode, paths))

    methods: dict[str, Callable[[], object]] = {
        "decoding alone": lambda: decode_all(decode_radiograph),
        "Pillow's full decode": lambda: decode_all(shrink_in_full),
        "pneumoscope read": lambda: list(read_files(reader, paths, BatchSettings())),
    }
    rates, costs = ({name: [] for name in methods} for _ in range(2))
    for _ in range(repeats):
        for name, method in methods.items():
            start, spent = time.perf_counter(), time.process_time()
            method()
            rates[name].append(len(paths) / (time.perf_counter() - start))
            costs[name].append(1000 * (time.process_time() - spent) / len(paths))
    print_table("batch, files a second", {name: statistics.median(found) for name, found in rates.items()}, 0)
    print_table("batch, ms of a core a file", {name: min(found) for name, found in costs.items()}, 0)


def shrink_in_full(path: str) -> None:
    with Image.open(path) as image:
        image.convert("L").resize((128, 128), Image.Resampling.BILINEAR)


def print_memory(folder: Path) -> None:
    found = {}
    for times in (1, 10):
        command = [sys.executable, "-c", MEMORY, str(folder), str(times)]
        count, mebibytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        found[f"{count} files"] = float(mebibytes)
    print_table("resident memory at most, MiB", found, 0)


def print_table(title: str, found: dict[str, float], reference: int) -> None:
    against = list(found.values())[reference]
    print(f"\n{title:36}{'':>12}{'x ' + list(found)[reference]:>30}")
    for name, value in found.items():
        print(f"{name:36}{value:12.3f}{value / against:30.2f}")


if __name__ == "__main__":
    main()
