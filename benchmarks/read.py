"""Time and memory to read radiographs, against Keras `predict` and a GradientTape Grad-CAM of the same network.

python benchmarks/read.py [--model READER] [--data DIR] [--num-files 400] [--repeats 7]

Prints one Markdown table with the goals. Without --data, phantoms of 2 megapixels stand for radiographs. The two sides
of a comparison take turns. A full reading is decoding, probabilities, heatmaps, neighbors, OOD check and anomaly map.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from timing import parse_options, take_turns, write_phantom_files

from pneumoscope.data.decode import decode_radiograph
from pneumoscope.inference.batch import ReadBatch, find_files, read_files
from pneumoscope.inference.model_set import SHIPPED_DIR
from pneumoscope.inference.reader import Reader
from pneumoscope.study.provenance import describe_hardware

WIDTH, HEIGHT = 1600, 1250  # 2 megapixels
MEMORY_FILES = (200, 2000)
KERAS_ONCE = """
import sys, keras
from pneumoscope.models.registry import build_architecture
size, outputs = int(sys.argv[3]), int(sys.argv[4])
image = keras.utils.img_to_array(keras.utils.load_img(sys.argv[1], color_mode='grayscale', target_size=(size, size)))
print(build_architecture(sys.argv[2], num_outputs=outputs, size=size).predict(image[None], verbose=0))
"""
MEMORY = """
import sys
from itertools import cycle, islice
from pneumoscope.inference.batch import ReadBatch, find_files, read_files
from pneumoscope.inference.reader import Reader
paths = list(islice(cycle(find_files([sys.argv[2]])), int(sys.argv[3])))
count = sum(reading.error is None for reading in read_files(ReadBatch(sys.argv[1]), paths))
assert count == len(paths), f"{len(paths) - count} files cannot be read"
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6)
"""


class Row(NamedTuple):
    """One line of the table: what was measured, on our side and the other, their ratio, and the goal."""

    task: str
    ours: str
    other: str
    ratio: str
    goal: str


def main() -> None:
    options = parse_options(__doc__, model=None, data=None, num_files=400, repeats=7)
    model = options.model or SHIPPED_DIR
    with tempfile.TemporaryDirectory() as name:
        folder = options.data or write_phantom_files(Path(name), num_files=16, size=512, shape=(WIDTH, HEIGHT))
        files = find_files([str(folder)])
        paths = list(islice(cycle(files), options.num_files))
        rows = [
            measure_cold(model, files[0], options.repeats),
            *measure_warm(model, files, 20 * options.repeats),
            *measure_folder(model, paths, max(3, options.repeats // 2)),
            *measure_memory(model, Path(files[0]).parent),
        ]
    print_rows(Reader.open(model), rows)


def print_rows(reader: Reader, rows: Sequence[Row]) -> None:
    card, hardware = reader.models.cards.classifier, describe_hardware()
    vectors = "AVX-512" if has_avx512() else "no AVX-512"
    passes = "an image and its mirror image" if card.settings.mirror else "one image"
    print(f"\nMachine: {hardware['cores']} cores of {hardware['processor']} ({vectors}).")
    print(
        f"Models: {reader.models.id}; classifier {card.architecture}, {card.input.shape[0]} pixels, {passes}; anomaly"
    )
    print(f"detector {reader.models.cards.anomaly.architecture if reader.models.cards.anomaly else 'none'}.")
    print("\n| task | Pneumoscope | Keras, or as stated | ratio | goal |\n|---|---|---|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


def has_avx512() -> bool:
    path = Path("/proc/cpuinfo")
    return path.exists() and "avx512f" in path.read_text(encoding="utf-8").split()


def measure_cold(model: Path, path: str, repeats: int) -> Row:
    """Fresh processes: our command, and Keras that builds the network and predicts."""
    program, (architecture, size, outputs) = str(Path(sys.executable).with_name("pneumoscope")), find_network(model)
    commands = {
        "ours": [program, "read", path, "--json", "--model", str(model)],
        "keras": [sys.executable, "-c", KERAS_ONCE, path, architecture, str(size), str(outputs)],
    }
    methods = {
        name: partial(subprocess.run, words, check=True, capture_output=True) for name, words in commands.items()
    }
    take_turns(methods, 1)
    ours, keras = (statistics.median(runs) for runs in take_turns(methods, repeats).values())
    return Row("one file, cold process, s", f"{ours:.2f}", f"{keras:.2f}", f"{keras / ours:.1f}", "under 1 s")


def find_network(model: Path) -> tuple[str, int, int]:
    """Return architecture, image size and number of outputs of a reader's classifier."""
    card = Reader.open(model).models.cards.classifier
    return card.architecture, card.input.shape[0], len(card.label_set.classes)


def measure_warm(model: Path, files: Sequence[str], repeats: int) -> list[Row]:
    """One file after another in a warm process."""
    reader, ours_files, keras_files = Reader.open(model), cycle(files), cycle(files)
    predict = prepare_keras(*find_network(model))

    def read() -> None:
        path = next(ours_files)
        reader.predict_with_maps(decode_radiograph(path, size=reader.models.image_size), path)

    methods: dict[str, Callable[[], object]] = {"ours": read, "keras": lambda: predict(next(keras_files))}
    take_turns(methods, 3)
    seconds = take_turns(methods, repeats)
    (ours, ours_95), (keras, keras_95) = (find_quantiles(runs) for runs in seconds.values())
    goal = "40 ms" if has_avx512() else "60 ms"
    task = "full reading of a 2-megapixel JPEG, warm"
    return [
        Row(f"{task}, median, ms", f"{ours:.1f}", f"{keras:.1f}", f"{keras / ours:.1f}", f"{goal}, 3 times as fast"),
        Row(f"{task}, 95th percentile, ms", f"{ours_95:.1f}", f"{keras_95:.1f}", f"{keras_95 / ours_95:.1f}", goal),
    ]


def find_quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile in milliseconds."""
    return 1000 * statistics.median(seconds), 1000 * statistics.quantiles(seconds, n=20)[-1]


def prepare_keras(architecture: str, size: int, num_outputs: int) -> Callable[[str], None]:
    """Return what a notebook does for one image: probabilities, and a heatmap of the last convolutional layer."""
    import keras
    import tensorflow as tf

    from pneumoscope.models.registry import build_architecture

    model = build_architecture(architecture, num_outputs=num_outputs, size=size)
    (*_, features) = (layer.output for layer in model.layers if len(layer.output.shape) == 4)
    both = keras.Model(model.input, [features, model.output])

    def read(path: str) -> None:
        loaded = keras.utils.load_img(path, color_mode="grayscale", target_size=(size, size), interpolation="bilinear")
        image = keras.utils.img_to_array(loaded)[None]
        decision = int(model.predict(image, verbose=0).argmax())
        with tf.GradientTape() as tape:
            features, outputs = both(image)
            score = outputs[:, decision]
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)).numpy()

    return read


def measure_folder(model: Path, paths: list[str], repeats: int) -> list[Row]:
    """Many files: each core reads its own, against all cores on one file at a time."""
    apart, together = Reader.open(model, num_threads=1), Reader.open(model)
    methods: dict[str, Callable[[], object]] = {
        "apart": lambda: list(read_files(ReadBatch(apart), paths)),
        "together": lambda: list(read_files(ReadBatch(together), paths, num_workers=1)),
    }
    take_turns(methods, 1)
    rates = {name: len(paths) / statistics.median(runs) for name, runs in take_turns(methods, repeats).items()}
    return [
        Row(
            "folder, files/s; the other side reads one file at a time on all cores",
            f"{rates['apart']:.0f}",
            f"{rates['together']:.0f}",
            f"{rates['apart'] / rates['together']:.1f}",
            f"{100 if has_avx512() else 40} files/s",
        )
    ]


def measure_memory(model: Path, folder: Path) -> list[Row]:
    """Peak resident memory of fresh processes that read few and many files."""
    peaks = []
    for count in MEMORY_FILES:
        command = [sys.executable, "-c", MEMORY, str(model), str(folder), str(count)]
        peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    few, many = MEMORY_FILES
    task = f"peak memory of {many:,} files, MB; the other side is {few} files"
    goal = "under 400 MB, not growing"
    return [Row(task, f"{peaks[1]:.0f}", f"{peaks[0]:.0f}", f"{peaks[1] / peaks[0]:.2f}", goal)]


if __name__ == "__main__":
    main()
