"""Registry of architectures. To add one, add a file that registers it to `pneumoscope.models.architectures`."""

import inspect
import pkgutil
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pneumoscope.errors import TrainingError
from pneumoscope.progress import log

if TYPE_CHECKING:
    import keras

Activation = Literal["softmax", "sigmoid"]
Build = Callable[..., "keras.Model"]

_ARCHITECTURES: dict[str, Build] = {}


def register_architecture(name: str) -> Callable[[Build], Build]:
    """Return a decorator that registers a function `(num_outputs, size, channels, **options) -> keras.Model`.

    The model has the name of the architecture and takes gray levels `(n, size, size, channels)` in [0, 255]. A
    classifier has a layer `embedding`; new classifiers also name the layer before the last activation `logits`.
    """

    def register(build: Build) -> Build:
        _ARCHITECTURES[name] = build
        return build

    return register


def list_architectures() -> tuple[str, ...]:
    """Return the names of all architectures."""
    package = import_module("pneumoscope.models.architectures")
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
    return tuple(_ARCHITECTURES)


def build_architecture(
    name: str, *, num_outputs: int, size: int = 128, channels: int = 1, **options: Any
) -> "keras.Model":
    """Build a model with random weights.

    Args:
        name: one of `list_architectures`; a `.keras` file, whose architecture gets a new head; or `module:function`, a
            function `(num_outputs, size, channels, **options) -> keras.Model` of the user, which is imported and run.
        num_outputs: number of classes, of channels of a reconstruction, or of dimensions of an embedding.
        size: side length of the images in pixels.
        channels: number of image channels.
        options: further arguments of the architecture: `activation` (`softmax` or `sigmoid`), `dropout` and `weights`.

    Raises:
        TrainingError: if the architecture does not exist or does not accept the arguments.
        ModelError: if a `.keras` file cannot be used.
    """
    foreign, activation = name.endswith(".keras") or ":" in name, options.get("activation")
    build = _find_foreign(name) if foreign else _find_registered(name)
    parameters = inspect.signature(build).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        unknown = [option for option in options if option not in parameters]
        if options.get("weights") is not None and "weights" in unknown:
            raise TrainingError(f"{name} takes no pretrained weights; leave them out, or choose another architecture")
        if unknown := [option for option in unknown if option != "weights"]:
            log.info("%s takes no %s; it is ignored", name, " and no ".join(unknown))
        options = {option: value for option, value in options.items() if option in parameters}
    if not foreign:
        return build(num_outputs, size, channels, **options)
    model = _build_foreign(name, partial(build, num_outputs, size, channels, **options), num_outputs)
    return _check_activation(name, model, independent=activation == "sigmoid")


def _find_registered(name: str) -> Build:
    names = list_architectures()
    if name not in names:
        raise TrainingError(
            f"there is no architecture {name!r}; expected one of {', '.join(names)}, FILE.keras, or module:function"
        )
    return _ARCHITECTURES[name]


def _find_foreign(name: str) -> Build:
    """Return the builder of a `.keras` file, or a function of the user, from the working folder or installed."""
    from pneumoscope.models.keras_file import build_like

    if name.endswith(".keras"):
        return partial(build_like, name)
    sys.path.insert(0, str(Path.cwd()))
    try:
        return pkgutil.resolve_name(name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError, ValueError) as error:
        raise TrainingError(f"{name} cannot be imported ({error}); expected module:function") from None
    finally:
        sys.path.pop(0)


def _build_foreign(name: str, build: Build, num_outputs: int) -> "keras.Model":
    """Return a model as a flat graph, after a check of its ends."""
    import keras

    from pneumoscope.models.flatten import flatten_model

    try:
        model = build()
        if not isinstance(model, keras.Model) or model.output_shape[1:] != (num_outputs,):
            actual = f"output {model.output_shape}" if isinstance(model, keras.Model) else type(model).__name__
            raise TrainingError(f"{name} gives a {actual}; expected a Keras model with the output (n, {num_outputs})")
        # Names that Keras chooses differ from run to run, and a checkpoint knows its model by name.
        return flatten_model(model, name=None if name.endswith(".keras") else name.replace(":", "."))
    except (TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise TrainingError(
            f"{name} fails: {reason}; expected a function (num_outputs, size, channels, **options) of a Keras model"
        ) from None


def _check_activation(name: str, model: "keras.Model", *, independent: bool) -> "keras.Model":
    from pneumoscope.models.flatten import find_last_layer
    from pneumoscope.models.keras_file import activate_logits

    activate_logits(model, independent=independent)
    last = find_last_layer(model)
    if independent and "softmax" in (last.name, getattr(getattr(last, "activation", None), "__name__", "")):
        raise TrainingError(f"{name} ends in a softmax; findings that occur together need a sigmoid, or no activation")
    return model
