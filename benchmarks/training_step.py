"""Training speed of task 1.A with its input: our training against plain Keras.

    python benchmarks/training_step.py [--data DIR] [--epochs 3] [--repeats 3] [--num-images N] [--only NAME,...]

All train the same architecture on the same files, split by patient, in batches of 32:

    keras                plain Keras: float32, image_dataset_from_directory, model.fit
    keras-cached         the same with the decoded images in memory by cache()
    reference, improved  pneumoscope.train_classifier in these configurations

Each run is a fresh process, and the trainers take turns. Images per second are the training images of an epoch over
the time between the ends of two epochs, with validation and checkpoint; the first epoch, in which graphs are traced,
is left out. "Total" is the time from files to the last epoch; accuracy is that of validation at the end. Without
--data, phantoms of 224 x 224 are written to a temporary folder.
"""

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from timing import parse_options

import pneumoscope

BATCH_SIZE = 32
SIZE = 128
CLASSES = ("NORMAL", "PNEUMONIA")

Outcome = tuple[int, list[float], float]
"""Training images an epoch, seconds at the end of each epoch since the files were touched, validation accuracy."""


def train_plain_keras(folder: Path, *, epochs: int, seed: int, cached: bool = False) -> Outcome:
    import keras

    from pneumoscope.models.architectures.reference import build_binary

    keras.utils.set_random_seed(seed)
    start = time.perf_counter()
    train, validation = (
        keras.utils.image_dataset_from_directory(
            folder / split,
            label_mode="categorical",
            class_names=CLASSES,
            color_mode="grayscale",
            image_size=(SIZE, SIZE),
            batch_size=BATCH_SIZE,
            shuffle=split == "train",
            seed=seed,
            verbose=False,
        )
        for split in ("train", "val")
    )
    if cached:
        train, validation = train.cache(), validation.cache()
    model = build_binary()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    ends: list[float] = []
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter() - start))
    history = model.fit(train, validation_data=validation, epochs=epochs, callbacks=[clock], verbose=0)
    return len(list((folder / "train").glob("*/*"))), ends, history.history["val_accuracy"][-1]


def train_ours(folder: Path, *, epochs: int, seed: int, configuration: str) -> Outcome:
    import keras  # noqa: F401  (as in the others, its import is no part of the time)

    ends: list[float] = []

    class Clock(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "epoch" in record.getMessage():
                ends.append(time.perf_counter() - start)

    logger = logging.getLogger("pneumoscope")
    logger.setLevel(logging.INFO)
    logger.addHandler(Clock())
    settings = pneumoscope.configuration_settings(configuration, epochs=epochs)
    with tempfile.TemporaryDirectory() as out_dir:
        start = time.perf_counter()
        dataset = pneumoscope.load_dataset(folder, size=SIZE)
        labels = dataset.label_set.binary()
        _, classification = pneumoscope.train_classifier(
            dataset, out_dir, label_set=labels, settings=settings, seed=seed
        )
    counts = np.bincount(dataset.train.labels(labels))
    num_images = len(counts) * counts.min() if settings.balanced else counts.sum()
    return int(num_images), ends[-epochs:], classification.evaluations["val"].metrics["accuracy"].value


TRAINERS: dict[str, Callable[..., Outcome]] = {
    "keras": train_plain_keras,
    "keras-cached": partial(train_plain_keras, cached=True),
    "reference": partial(train_ours, configuration="reference"),
    "improved": partial(train_ours, configuration="improved"),
}


def link_files(source: Path, folder: Path, *, num_images: int) -> None:
    """Link the radiographs of `source` into `folder`/{train,val}/{NORMAL,PNEUMONIA}, split by patient."""
    dataset = pneumoscope.split_dataset(pneumoscope.load_dataset(source, size=SIZE), seed=0)
    names = np.array(CLASSES)[dataset.labels(dataset.label_set.binary())]
    table = dataset.table.assign(folder=names)
    for split in ("train", "val"):
        part = table[table["split"] == split].sample(frac=1, random_state=0)
        for row in part.head(num_images or len(part)).itertuples():
            link = folder / split / row.folder / Path(row.path).name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(row.path).resolve())


def run_in_fresh_process(name: str, folder: Path, *, epochs: int, seed: int) -> Outcome:
    command = [sys.executable, __file__, "--worker", name, str(folder), str(epochs), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def print_table(outcomes: dict[str, list[Outcome]]) -> None:
    def rate(outcome: Outcome) -> float:
        num_images, ends, _ = outcome
        return num_images / statistics.median(np.diff(ends))

    reference = statistics.median(map(rate, outcomes["keras"])) if "keras" in outcomes else float("nan")
    print(f"{'':14}{'images/s':>10}{'x keras':>10}{'total, s':>10}{'accuracy, validation':>24}")
    for name, runs in outcomes.items():
        speed = statistics.median(map(rate, runs))
        seconds = statistics.median(ends[-1] for _, ends, _ in runs)
        accuracies = " ".join(f"{accuracy:.3f}" for *_, accuracy in runs)
        print(f"{name:14}{speed:10.0f}{speed / reference:10.2f}{seconds:10.1f}{accuracies:>24}")


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        name, linked, epochs, seed = sys.argv[2:]
        print(json.dumps(TRAINERS[name](Path(linked), epochs=int(epochs), seed=int(seed))))
        return
    options = parse_options(__doc__, data=None, epochs=3, repeats=3, num_images=0, only=",".join(TRAINERS))
    if options.epochs < 2:
        raise SystemExit(f"--epochs is {options.epochs}, expected 2 or more, as the first is left out")
    names = options.only.split(",")

    with tempfile.TemporaryDirectory() as scratch:
        phantoms, folder = Path(scratch) / "phantoms", Path(scratch) / "linked"
        data = options.data or pneumoscope.write_phantoms(phantoms, num_train=1000, num_test=10, size=224)
        link_files(data, folder, num_images=options.num_images)
        outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
        for repeat in range(options.repeats):
            for name in names:
                outcomes[name].append(run_in_fresh_process(name, folder, epochs=options.epochs, seed=repeat))
    print_table(outcomes)


if __name__ == "__main__":
    main()
