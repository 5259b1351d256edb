"""How fast task 1.A trains, input included: our training against a plain Keras recipe and a plain PyTorch loop.

    python benchmarks/training_step.py [--data DIR] [--epochs 3] [--repeats 3] [--num-images N] [--only NAME ...]

All train the same net on the same files, split by patient, in batches of 32:

    keras         the plain recipe: float32, image_dataset_from_directory, model.fit
    keras-cached  the same with the decoded images kept in memory by cache()
    torch         a plain loop over a DataLoader of two workers, float32 (where torch is installed)
    paper, best   pneumoscope.train_classifier in its two configurations

Each run is a fresh process, and the recipes take turns. Images a second count the training images of an epoch
against the time between the ends of two epochs, validation and checkpoint included; the first epoch, in which graphs
are traced, is left out. "All" is the time from files to the last epoch, and accuracy is that of validation then.
Without --data, phantoms of 224 x 224 are written to a temporary folder.
"""

import argparse
import importlib.util
import itertools
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

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
    return count_files(folder / "train"), ends, history.history["val_accuracy"][-1]


def train_plain_torch(folder: Path, *, epochs: int, seed: int) -> Outcome:
    import torch
    from PIL import Image
    from torch import nn

    def load(sample: tuple[Path, int]) -> tuple[torch.Tensor, torch.Tensor]:
        path, label = sample
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L").resize((SIZE, SIZE)), dtype=np.float32) / 255
        return torch.from_numpy(pixels)[None], torch.eye(2)[label]

    class Files(torch.utils.data.Dataset):
        def __init__(self, split: str) -> None:
            self.samples = [
                (path, label)
                for label, name in enumerate(CLASSES)
                for path in sorted((folder / split / name).iterdir())
            ]

        def __len__(self) -> int:
            return len(self.samples)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            return load(self.samples[index])

    torch.manual_seed(seed)
    start = time.perf_counter()
    train = torch.utils.data.DataLoader(Files("train"), BATCH_SIZE, shuffle=True, num_workers=2)
    validation = torch.utils.data.DataLoader(Files("val"), BATCH_SIZE, num_workers=2)
    widths = (1, 32, 64, 128)
    convolutions = [
        layer
        for before, after in itertools.pairwise(widths)
        for layer in (nn.Conv2d(before, after, 3), nn.ReLU(), nn.MaxPool2d(2))
    ]
    head = [nn.BatchNorm1d(25_088), nn.Linear(25_088, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 2)]
    model = nn.Sequential(*convolutions, nn.Flatten(), *head)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    ends: list[float] = []
    for _ in range(epochs):
        model.train()
        for images, targets in train:
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(model(images), targets).backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            right = sum((model(images).argmax(1) == targets.argmax(1)).sum().item() for images, targets in validation)
        ends.append(time.perf_counter() - start)
    return len(train.dataset), ends, right / len(validation.dataset)


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
        _, classification = pneumoscope.train_classifier(dataset, out_dir, settings=settings, seed=seed)
    counts = np.bincount(dataset.split("train").labels(classification.classes))
    num_images = len(counts) * counts.min() if settings.balanced else counts.sum()
    return int(num_images), ends[-epochs:], classification.evaluations["val"].metrics["accuracy"].value


RECIPES: dict[str, Callable[..., Outcome]] = {
    "keras": train_plain_keras,
    "keras-cached": lambda folder, **options: train_plain_keras(folder, cached=True, **options),
    "torch": train_plain_torch,
    "reference": lambda folder, **options: train_ours(folder, configuration="reference", **options),
    "improved": lambda folder, **options: train_ours(folder, configuration="improved", **options),
}


def count_files(folder: Path) -> int:
    return sum(len(list((folder / name).iterdir())) for name in CLASSES)


def link_files(source: Path, folder: Path, *, num_images: int | None) -> None:
    """Link the radiographs of `source` into `folder`/{train,val}/{NORMAL,PNEUMONIA}, split by patient."""
    table = pneumoscope.split_dataset(pneumoscope.load_dataset(source, size=SIZE), seed=0).table
    for split in ("train", "val"):
        part = table[table["split"] == split].sample(frac=1, random_state=0)
        for row in part.head(num_images or len(part)).itertuples():
            link = folder / split / row.label.upper() / Path(row.path).name
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
    print(f"{'':14}{'images/s':>10}{'x keras':>10}{'all, s':>10}{'accuracy, validation':>24}")
    for name, runs in outcomes.items():
        speed = statistics.median(map(rate, runs))
        seconds = statistics.median(ends[-1] for _, ends, _ in runs)
        accuracies = " ".join(f"{accuracy:.3f}" for *_, accuracy in runs)
        print(f"{name:14}{speed:10.0f}{speed / reference:10.2f}{seconds:10.1f}{accuracies:>24}")


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        name, linked, epochs, seed = sys.argv[2:]
        print(json.dumps(RECIPES[name](Path(linked), epochs=int(epochs), seed=int(seed))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of radiographs")
    parser.add_argument("--epochs", type=int, default=3, help="2 or more")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num-images", type=int, help="of train and of validation at most")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="NAME")
    given = parser.parse_args()
    if given.epochs < 2:
        parser.error("--epochs is expected to be 2 or more, as the first is left out")
    names = [name for name in given.only if name != "torch" or importlib.util.find_spec("torch")]

    with tempfile.TemporaryDirectory() as scratch:
        data = given.data or pneumoscope.write_phantoms(
            Path(scratch) / "phantoms", num_train=1000, num_test=10, size=224
        )
        folder = Path(scratch) / "linked"
        link_files(data, folder, num_images=given.num_images)
        outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
        for repeat in range(given.repeats):
            for name in names:
                outcomes[name].append(run_in_fresh_process(name, folder, epochs=given.epochs, seed=repeat))
    print_table(outcomes)


if __name__ == "__main__":
    main()
