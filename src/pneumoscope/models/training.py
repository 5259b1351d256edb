"""Training with a checkpoint after every epoch.

The random choices of an epoch depend on the seed and the number of the epoch only. The checkpoint holds the whole state
of the model and its optimizer. A resumed run therefore gives the same result as an uninterrupted run. A run with more
epochs than its checkpoint continues it; a decaying learning rate is then planned anew for the additional epochs.
"""

import json
import os
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
from pneumoscope.io.read import open_regular
from pneumoscope.io.results import LearningCurve
from pneumoscope.io.write import atomic_write
from pneumoscope.models.devices import share_batches
from pneumoscope.models.history import CURVES, HISTORY, HISTORY_NAME, open_tensorboard, write_history
from pneumoscope.models.optimizer import build_optimizer
from pneumoscope.models.saved_model import init_weights
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.progress import log, progress_bar

# Settings that may differ if a run is continued: `configuration_settings` derives some from the number of epochs.
_CONTINUED = ("epochs", "averaging", "patience")

_STATE = ("epoch", "planned_from", "chosen", "curves")

# Inputs, targets and optionally sample weights.
Batch = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class TrainingData:
    """Training and validation data of a model.

    Attributes:
        draw_order: `rng -> (m,)` int, the training examples of one epoch in their order.
        make_batch: `(indices, rng) -> (inputs, targets)` or `(inputs, targets, weights)`, the batch of one step;
            weights are `(n,)` float32.
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
    init_from: str | os.PathLike[str] | None = None,
    tensorboard: Path | None = None,
) -> LearningCurve:
    """Train a model in place; it ends with the weights of the chosen epoch.

    `history.csv` beside the checkpoint has one row per epoch.

    Args:
        model, data, settings: newly built model, its data, and the settings of the training.
        loss: loss of `(targets, outputs)`.
        checkpoint_path: `.npz` file, written after every epoch. If it exists, training resumes from it, or continues it
            if the settings have more epochs and are otherwise the same.
        seed: seed of order, augmentation and dropout.
        title: title of the progress bar and of the log lines.
        init_from: model whose weights a new training starts from, see `init_weights`; a resumed training ignores it.
        tensorboard: folder for the history in the format of TensorBoard.

    Raises:
        TrainingError: if the image size differs, the checkpoint has other settings or data, or the loss is not finite;
            or if `tensorboard` is given and the backend of Keras is not TensorFlow.
    """
    _check_size(model, data.validation[0])
    write_scalars = open_tensorboard(tensorboard)
    steps = -(-len(data.draw_order(np.random.default_rng(seed))) // settings.batch_size)
    plan = {**settings.to_json(), "seed": seed, "data": data.sha256, "model": model.name}
    prepare = partial(_compile, model, settings, loss, steps)
    state = _State.open(checkpoint_path, model, plan, prepare, title)
    if init_from and not state.epoch:
        init_weights(model, init_from)
        state.average = state.kept = _read(model.weights)
    with progress_bar() as bar:
        task = bar.add_task(title, total=settings.epochs * steps, completed=state.epoch * steps)

        def report(step: int, mean_loss: float) -> None:
            text = f"{title}: epoch {state.epoch + 1}/{settings.epochs}, loss {mean_loss:.3f}"
            bar.update(task, completed=state.epoch * steps + step, description=text)

        while state.epoch < settings.epochs and not _ran_out_of_patience(settings, state, title):
            started = time.perf_counter()
            keras.utils.set_random_seed(seed + state.epoch)  # dropout on torch draws from the global generator
            logs = _run_epoch(model, data, settings, np.random.default_rng([seed, state.epoch]), report)
            _finish_epoch(model, data, settings, state, logs)
            state.curves["seconds"].append(time.perf_counter() - started)
            state.save(checkpoint_path, model, plan)
            write_history(checkpoint_path.with_name(HISTORY_NAME), state.curves)
            write_scalars({name: values[-1] for name, values in state.curves.items()}, state.epoch)
            _log_epoch(title, settings.epochs, state)
    _assign(model.weights, state.kept)
    return LearningCurve(
        **{name: np.array(state.curves[name]) for name in CURVES},
        chosen_epoch=state.chosen,
        seconds=sum(state.curves["seconds"]),
    )


def _check_size(model: keras.Model, images: np.ndarray) -> None:
    if images.shape[1:] != model.input_shape[1:]:
        actual, expected = (" x ".join(map(str, shape)) for shape in (images.shape[1:], model.input_shape[1:]))
        raise TrainingError(
            f"the images are {actual}, {model.name} expects {expected}; load the images with the size of the settings"
        )


def _compile(
    model: keras.Model, settings: TrainingSettings, loss: keras.losses.Loss, steps: int, planned_from: int
) -> None:
    """Compile a model; the learning rate schedule is that of a training which starts after the epoch `planned_from`."""
    num_epochs = max(1, settings.epochs - planned_from)
    _freeze(model, settings.frozen_until)
    classifies = isinstance(loss, keras.losses.CategoricalCrossentropy | keras.losses.BinaryCrossentropy)
    model.compile(
        build_optimizer(model, settings, num_epochs * steps),
        loss,
        weighted_metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")] if classifies else [],
        # Compiled steps are slower with TensorFlow on CPUs, and faster with JAX.
        jit_compile=keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)


def _freeze(model: keras.Model, last: str | None) -> None:
    """Freeze all layers up to one, with the statistics of their normalizations."""
    names = [layer.name for layer in model.layers]
    if last is not None and last not in names:
        raise TrainingError(
            f"frozen_until is {last!r}; expected a layer of {model.name}, such as {names[len(names) // 2]}"
        )
    for layer in model.layers[: 0 if last is None else names.index(last) + 1]:
        layer.trainable = False


def _run_epoch(
    model: keras.Model,
    data: TrainingData,
    settings: TrainingSettings,
    rng: np.random.Generator,
    report: Callable[[int, float], None],
) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    examples = 0
    for step, batch in enumerate(_draw_batches(data, settings.batch_size, rng), start=1):
        with share_batches():
            logs = model.train_on_batch(*batch, return_dict=True)
        examples += len(batch[0])
        for name, value in logs.items():
            sums[name] += float(value) * len(batch[0])
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
    """State that changes with every epoch; `planned_from` is the epoch after which the schedule starts."""

    epoch: int
    planned_from: int
    chosen: int
    curves: dict[str, list[float]]
    average: list[np.ndarray]
    kept: list[np.ndarray]

    @classmethod
    def open(
        cls, path: Path, model: keras.Model, plan: dict[str, Any], prepare: Callable[[int], None], title: str
    ) -> "_State":
        """Return the state of a checkpoint, or a new state if there is no checkpoint."""
        if not path.exists():
            prepare(0)
            weights = _read(model.weights)
            return cls(0, 0, 1, {name: [] for name in HISTORY}, weights, weights)
        try:
            with open_regular(path) as stream, np.load(stream, allow_pickle=False) as archive:
                head = json.loads(str(archive["head"]))
                groups = {
                    name: [archive[f"{name}_{number}"] for number in range(count)]
                    for name, count in head.pop("counts").items()
                }
            state = cls(**{name: head[name] for name in _STATE}, average=groups["average"], kept=groups["kept"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise TrainingError(f"{path} is not a checkpoint ({error}); delete it to restart the training") from None
        continued = _compare_plans(path, head["plan"], plan, state.epoch, title)
        state.planned_from = state.epoch if continued else state.planned_from
        prepare(state.planned_from)
        _assign(model.variables, groups["variables"])
        if not (continued and plan["cosine"]):
            _assign(model.optimizer.variables, groups["optimizer"])
        return state

    def save(self, path: Path, model: keras.Model, plan: dict[str, Any]) -> None:
        groups = {
            "variables": _read(model.variables),
            "optimizer": _read(model.optimizer.variables),
            "average": self.average,
            "kept": self.kept,
        }
        head = {
            "plan": plan,
            "counts": {name: len(group) for name, group in groups.items()},
            **{name: getattr(self, name) for name in _STATE},
        }
        arrays = {f"{name}_{number}": item for name, group in groups.items() for number, item in enumerate(group)}
        with atomic_write(path) as partial, partial.open("wb") as stream:
            np.savez(stream, head=np.array(json.dumps(head)), **arrays)  # type: ignore[arg-type]


def _compare_plans(path: Path, old: dict[str, Any], new: dict[str, Any], epoch: int, title: str) -> bool:
    """Log how the checkpoint of a run is used; return whether the run is continued, with more epochs.

    Raises:
        TrainingError: if the checkpoint belongs to another run.
    """
    if old == new:
        log.info("%s: resuming after epoch %d of %d", title, epoch, new["epochs"])
        return False
    differences = [name for name in new if name not in old or old[name] != new[name]]
    if set(differences) - {*_CONTINUED} or not old["epochs"] < new["epochs"]:
        differences = [name for name in differences if name == "epochs" or name not in _CONTINUED] or differences
        raise TrainingError(
            f"{path} comes from a run with other settings or data ({', '.join(differences)}). "
            "Choose another output folder, or delete the file to restart the training."
        )
    anew = new["cosine"]
    schedule = f"planned anew for epochs {epoch + 1} to {new['epochs']}" if anew else "constant, as before"
    log.info("%s: continuing after epoch %d of %d; the learning rate is %s", title, epoch, old["epochs"], schedule)
    return True


def _ran_out_of_patience(settings: TrainingSettings, state: _State, title: str) -> bool:
    """Return whether the validation loss was not lower for `patience` epochs; a continued run counts anew."""
    since = state.epoch - max(state.chosen, state.planned_from)
    if settings.patience is None or not state.epoch or since < settings.patience:
        return False
    log.info("%s: stopped after epoch %d, %d epochs after the lowest validation loss", title, state.epoch, since)
    return True


def _read(variables: list[Any]) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: list[Any], values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _finish_epoch(
    model: keras.Model, data: TrainingData, settings: TrainingSettings, state: _State, logs: dict[str, float]
) -> None:
    rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    weights = _read(model.weights)
    past = min(settings.averaging, state.epoch / (state.epoch + 1))
    state.average = [past * old + (1 - past) * new for old, new in zip(state.average, weights, strict=True)]
    _assign(model.weights, state.average)
    inputs, targets, sample_weight = data.validation
    val_logs = model.evaluate(inputs, targets, sample_weight=sample_weight, batch_size=128, verbose=0, return_dict=True)
    _assign(model.weights, weights)
    state.epoch += 1
    logs |= {f"val_{name}": value for name, value in val_logs.items()} | {"learning_rate": rate}
    for name in HISTORY[:-1]:
        state.curves[name].append(float(logs.get(name, np.nan)))
    keeps_best = settings.keep_best or settings.patience is not None
    if not keeps_best or logs["val_loss"] <= min(state.curves["val_loss"]):
        state.kept, state.chosen = state.average, state.epoch


def _log_epoch(title: str, epochs: int, state: _State) -> None:
    left = timedelta(seconds=round(np.mean(state.curves["seconds"]) * (epochs - state.epoch)))
    last = {name: state.curves[name][-1] for name in CURVES}
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in last.items() if np.isfinite(value))
    log.info("%s: epoch %d/%d, %s, %s left", title, state.epoch, epochs, metrics, left)
