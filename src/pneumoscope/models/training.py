"""Training with a checkpoint after every epoch.

The random choices of an epoch depend on the seed and the number of the epoch only. The checkpoint holds the whole state
of the model and its optimizer. A resumed run therefore gives the same result as an uninterrupted run.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np

from pneumoscope.errors import TrainingError
from pneumoscope.io.results import LearningCurve
from pneumoscope.io.write import atomic_write
from pneumoscope.models.optimizer import build_optimizer
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.progress import log, progress_bar

CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")

Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class TrainingData:
    """Training and validation data of a model.

    Attributes:
        draw_order: `rng -> (m,)` int, the training examples of one epoch in their order.
        make_batch: `(indices, rng) -> (inputs, targets)`, the batch of one step.
        validation: inputs, targets, and sample weights as `(n,)` float32 or None.
        sha256: hash of the training data; a checkpoint is resumed only on the same data.
    """

    draw_order: Callable[[np.random.Generator], np.ndarray]
    make_batch: Callable[[np.ndarray, np.random.Generator], Batch]
    validation: tuple[np.ndarray, np.ndarray, np.ndarray | None]
    sha256: str


def fit_model(
    model: keras.Model,
    data: TrainingData,
    settings: TrainingSettings,
    *,
    loss: keras.losses.Loss,
    checkpoint_path: Path,
    seed: int,
    title: str,
) -> LearningCurve:
    """Train a model in place; it ends with the weights of the chosen epoch.

    Args:
        model, data, settings: newly built model, its data, and the settings of the training.
        loss: loss of `(targets, outputs)`.
        checkpoint_path: `.npz` file, written after every epoch. If it exists, training resumes from it.
        seed: seed of order, augmentation and dropout.
        title: title of the progress bar and of the log lines.

    Raises:
        TrainingError: if the image size differs, the checkpoint has other settings or data, or the loss is not finite.
    """
    _check_size(model, data.validation[0])
    steps = -(-len(data.draw_order(np.random.default_rng(seed))) // settings.batch_size)
    fingerprint = json.dumps({**settings.to_json(), "seed": seed, "data": data.sha256, "model": model.name})
    prepare = partial(_start_stage, model, settings, loss, steps)
    state = _State.open(checkpoint_path, model, fingerprint, prepare)
    if state.epoch:
        log.info("%s: resuming after epoch %d of %d", title, state.epoch, settings.epochs)
    with progress_bar() as bar:
        task = bar.add_task(title, total=settings.epochs * steps, completed=state.epoch * steps)

        def report(step: int, mean_loss: float) -> None:
            text = f"{title}: epoch {state.epoch + 1}/{settings.epochs}, loss {mean_loss:.3f}"
            bar.update(task, completed=state.epoch * steps + step, description=text)

        while state.epoch < settings.epochs:
            started = time.perf_counter()
            keras.utils.set_random_seed(seed + state.epoch)  # dropout on torch draws from the global generator
            logs = _run_epoch(model, data, settings, np.random.default_rng([seed, state.epoch]), report)
            _finish_epoch(model, data, settings, state, logs)
            if state.epoch == settings.head_epochs:
                prepare(state.epoch)
            state.seconds += time.perf_counter() - started
            state.save(checkpoint_path, model, fingerprint)
            _log_epoch(title, settings.epochs, state)
    _assign(model.weights, state.kept)
    return LearningCurve(
        **{name: np.array(state.curves[name]) for name in CURVES}, chosen_epoch=state.chosen, seconds=state.seconds
    )


def _check_size(model: keras.Model, images: np.ndarray) -> None:
    if images.shape[1:] != model.input_shape[1:]:
        actual, expected = (" x ".join(map(str, shape)) for shape in (images.shape[1:], model.input_shape[1:]))
        raise TrainingError(
            f"the images are {actual}, {model.name} expects {expected}; load the images with the size of the settings"
        )


def _start_stage(
    model: keras.Model, settings: TrainingSettings, loss: keras.losses.Loss, steps: int, epoch: int
) -> None:
    """Compile a model for the epochs after `epoch`; the first `head_epochs` train the last layer only."""
    head_epochs = min(settings.head_epochs, settings.epochs)
    head_alone = epoch < head_epochs
    if settings.head_epochs:
        # A learning rate of 0 would still update the statistics of batch normalization.
        for layer in model.layers[:-1]:
            layer.trainable = not head_alone
    num_epochs = head_epochs if head_alone else max(1, settings.epochs - head_epochs)
    classifies = isinstance(loss, keras.losses.CategoricalCrossentropy | keras.losses.BinaryCrossentropy)
    model.compile(
        build_optimizer(model, settings, num_epochs * steps),
        loss,
        weighted_metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")] if classifies else [],
        # Compiled steps are slower with TensorFlow on CPUs, and faster with JAX.
        jit_compile=keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)


def _run_epoch(
    model: keras.Model,
    data: TrainingData,
    settings: TrainingSettings,
    rng: np.random.Generator,
    report: Callable[[int, float], None],
) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    examples = 0
    for step, (inputs, targets) in enumerate(_draw_batches(data, settings.batch_size, rng), start=1):
        logs = model.train_on_batch(inputs, targets, return_dict=True)
        examples += len(inputs)
        for name, value in logs.items():
            sums[name] += float(value) * len(inputs)
        report(step, sums["loss"] / examples)
    if not np.isfinite(sums["loss"]):
        raise TrainingError(f"the loss became {sums['loss']}; expected a finite value. Try a lower learning rate.")
    return {name: total / examples for name, total in sums.items()}


def _draw_batches(data: TrainingData, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches; a thread prepares the next batch during each step."""
    order = data.draw_order(rng)
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    with ThreadPoolExecutor(max_workers=1) as worker:
        future = worker.submit(data.make_batch, parts[0], rng)
        for part in parts[1:]:
            batch, future = future.result(), worker.submit(data.make_batch, part, rng)
            yield batch
        yield future.result()


@dataclass
class _State:
    """State that changes with every epoch."""

    epoch: int
    seconds: float
    chosen: int
    curves: dict[str, list[float]]
    average: list[np.ndarray]
    kept: list[np.ndarray]

    @classmethod
    def open(cls, path: Path, model: keras.Model, fingerprint: str, prepare: Callable[[int], None]) -> "_State":
        """Return the state of a checkpoint, or a new state if there is no checkpoint."""
        if not path.exists():
            prepare(0)
            weights = _read(model.weights)
            return cls(0, 0.0, 1, {name: [] for name in CURVES}, weights, weights)
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                head = json.loads(str(archive["head"]))
                groups = {
                    name: [archive[f"{name}_{number}"] for number in range(count)]
                    for name, count in head.pop("counts").items()
                }
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise TrainingError(f"{path} is not a checkpoint ({error}); delete it to restart the training") from None
        if head.pop("fingerprint") != fingerprint:
            raise TrainingError(
                f"{path} comes from a run with other settings or data. "
                "Choose another output folder, or delete the file to restart the training."
            )
        prepare(head["epoch"])
        _assign(model.variables, groups["variables"])
        _assign(model.optimizer.variables, groups["optimizer"])
        return cls(**head, average=groups["average"], kept=groups["kept"])

    def save(self, path: Path, model: keras.Model, fingerprint: str) -> None:
        groups = {
            "variables": _read(model.variables),
            "optimizer": _read(model.optimizer.variables),
            "average": self.average,
            "kept": self.kept,
        }
        head = {
            "fingerprint": fingerprint,
            "counts": {name: len(group) for name, group in groups.items()},
            **{name: getattr(self, name) for name in ("epoch", "seconds", "chosen", "curves")},
        }
        arrays = {f"{name}_{number}": item for name, group in groups.items() for number, item in enumerate(group)}
        with atomic_write(path) as partial, partial.open("wb") as stream:
            np.savez(stream, head=np.array(json.dumps(head)), **arrays)  # type: ignore[arg-type]


def _read(variables: list[Any]) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: list[Any], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _finish_epoch(
    model: keras.Model, data: TrainingData, settings: TrainingSettings, state: _State, logs: dict[str, float]
) -> None:
    weights = _read(model.weights)
    past = min(settings.averaging, state.epoch / (state.epoch + 1))
    state.average = [past * old + (1 - past) * new for old, new in zip(state.average, weights, strict=True)]
    _assign(model.weights, state.average)
    inputs, targets, sample_weight = data.validation
    val_logs = model.evaluate(inputs, targets, sample_weight=sample_weight, batch_size=128, verbose=0, return_dict=True)
    _assign(model.weights, weights)
    state.epoch += 1
    logs |= {f"val_{name}": value for name, value in val_logs.items()}
    for name in CURVES:
        state.curves[name].append(float(logs.get(name, np.nan)))
    if not settings.keep_best or logs["val_loss"] <= min(state.curves["val_loss"]):
        state.kept, state.chosen = state.average, state.epoch


def _log_epoch(title: str, epochs: int, state: _State) -> None:
    left = timedelta(seconds=round(state.seconds / state.epoch * (epochs - state.epoch)))
    last = {name: values[-1] for name, values in state.curves.items()}
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in last.items() if np.isfinite(value))
    log.info("%s: epoch %d/%d, %s, %s left", title, state.epoch, epochs, metrics, left)
