"""Registry of architectures. To add one, add a file that registers it to `pneumoscope.models.architectures`."""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pneumoscope.errors import TrainingError

if TYPE_CHECKING:
    import keras

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
        name: one of `list_architectures`.
        num_outputs: number of classes, of channels of a reconstruction, or of dimensions of an embedding.
        size: side length of the images in pixels.
        channels: number of image channels.
        options: further arguments of the architecture, such as `dropout`.

    Raises:
        TrainingError: if the architecture does not exist or does not accept the arguments.
    """
    names = list_architectures()
    if name not in names:
        raise TrainingError(f"there is no architecture {name!r}; expected one of {', '.join(names)}")
    return _ARCHITECTURES[name](num_outputs, size, channels, **options)
