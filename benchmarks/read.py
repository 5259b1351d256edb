"""Time to read a radiograph: `pneumoscope read` against Keras `predict` and a GradientTape Grad-CAM.

python benchmarks/read.py [--data DIR] [--num-files 400] [--repeats 7]

Without --data, phantoms of 1500 x 1300 stand for full-size radiographs. The tables are: a cold process; a warm reading
with heatmap, embedding, neighbors and anomaly score; a batch of files against decoding alone on as many threads, by
our decoder and by Pillow in full, in wall-clock and processor time; and the peak memory of a short and a long batch.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image
from timing import parse_options, print_table, take_turns, write_phantom_files

from pneumoscope.data.decode import decode_radiograph
from pneumoscope.inference.batch import find_files, read_files
from pneumoscope.inference.reader import Reader

KERAS_ONCE = """
import sys, numpy as np, keras
from pneumoscope.models.registry import build_architecture
image = keras.utils.img_to_array(keras.utils.load_img(sys.argv[1], color_mode='grayscale', target_size=(128, 128)))
print(build_architecture(sys.argv[2], num_outputs=3).predict(image[None], verbose=0))
"""
MEMORY = """
import sys
from pneumoscope.inference.batch import find_files, read_files
from pneumoscope.inference.reader import Reader
paths = find_files([sys.argv[1]]) * int(sys.argv[2])
count = sum(1 for _ in read_files(Reader.open(num_threads=1), paths))
with open("/proc/self/status") as status:
    print(count, next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)
"""


def main() -> None:
    options = parse_options(__doc__, data=None, num_files=400, repeats=7)
    with tempfile.TemporaryDirectory() as name:
        folder = options.data or write_phantom_files(Path(name), num_files=16, size=512, shape=(1500, 1300))
        paths = find_files([str(folder)])
        paths = [paths[number % len(paths)] for number in range(options.num_files)]
        print_cold(paths[0], options.repeats)
        print_warm(paths[0], 20 * options.repeats)
        print_batch(paths, max(3, options.repeats // 2))
        print_memory(Path(paths[0]).parent)


def print_cold(path: str, repeats: int) -> None:
    program = str(Path(sys.executable).with_name("pneumoscope"))
    commands = {
        "pneumoscope read one.jpeg": [program, "read", path, "--json"],
        "Keras, build and predict": [sys.executable, "-c", KERAS_ONCE, path, find_architecture(Reader.open())],
    }
    methods = {n: partial(subprocess.run, words, check=True, capture_output=True) for n, words in commands.items()}
    print_table("cold process, seconds", take_turns(methods, repeats), "Keras, build and predict")


def find_architecture(reader: Reader) -> str:
    return str(reader.models.cards.classifier.architecture)


def print_warm(path: str, repeats: int) -> None:
    reader = Reader.open()

    def read() -> None:
        image, objections = decode_radiograph(path)
        reader.predict_images(image[None], [path], objections=[objections])
        reader.compute_heatmaps(image[None], ["pneumonia"])

    other = prepare_keras(path, find_architecture(reader))
    methods = {"pneumoscope, full reading": read, "Keras predict + Grad-CAM": other}
    take_turns(methods, 1)
    seconds = {name: take_turns({name: method}, repeats)[name] for name, method in methods.items()}
    milliseconds = {name: [1000 * run for run in runs] for name, runs in seconds.items()}
    print_table("warm, milliseconds", milliseconds, "Keras predict + Grad-CAM")


def prepare_keras(path: str, architecture: str) -> Callable[[], None]:
    """Return what a notebook does for one image: probabilities, and a heatmap of its last convolutional layer."""
    import keras
    import tensorflow as tf

    from pneumoscope.models.registry import build_architecture

    model = build_architecture(architecture, num_outputs=3)
    (*_, features) = (layer.output for layer in model.layers if len(layer.output.shape) == 4)
    both = keras.Model(model.input, [features, model.output])

    def read() -> None:
        loaded = keras.utils.load_img(path, color_mode="grayscale", target_size=(128, 128), interpolation="bilinear")
        image = keras.utils.img_to_array(loaded)[None]
        decision = int(model.predict(image, verbose=0).argmax())
        with tf.GradientTape() as tape:
            features, outputs = both(image)
            score = outputs[:, decision]
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)).numpy()

    return read


def print_batch(paths: list[str], repeats: int) -> None:
    reader, cores = Reader.open(num_threads=1), os.cpu_count() or 1

    def decode_all(decode: Callable[[str], object]) -> None:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(decode, paths))

    methods: dict[str, Callable[[], object]] = {
        "decoding alone": lambda: decode_all(decode_radiograph),
        "Pillow's full decode": lambda: decode_all(decode_in_full),
        "pneumoscope read": lambda: list(read_files(reader, paths)),
    }
    seconds, processor_seconds = take_turns(methods, repeats), take_turns(methods, repeats, time.process_time)
    rates = {name: [len(paths) / run for run in runs] for name, runs in seconds.items()}
    costs = {name: 1000 * min(runs) / len(paths) for name, runs in processor_seconds.items()}
    print_table("batch, files a second", rates, "decoding alone")
    print_table("batch, ms of a core per file", costs, "decoding alone")


def decode_in_full(path: str) -> None:
    with Image.open(path) as image:
        image.convert("L").resize((128, 128), Image.Resampling.BILINEAR)


def print_memory(folder: Path) -> None:
    peaks = {}
    for times in (1, 10):
        command = [sys.executable, "-c", MEMORY, str(folder), str(times)]
        count, mebibytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        peaks[f"{count} files"] = float(mebibytes)
    print_table("peak resident memory, MiB", peaks, next(iter(peaks)))


if __name__ == "__main__":
    main()
