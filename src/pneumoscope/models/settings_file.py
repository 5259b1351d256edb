"""Training settings as a TOML file, `settings.toml` beside a trained model."""

import json
import os
import tomllib
from dataclasses import asdict
from typing import Any

from pneumoscope.errors import TrainingError
from pneumoscope.io.read import read_text
from pneumoscope.models.settings import TrainingSettings

SETTINGS_NAME = "settings.toml"


def settings_to_toml(settings: TrainingSettings) -> str:
    """Return settings as TOML; those that are None are left out.

    Example:
        >>> print(settings_to_toml(TrainingSettings(epochs=3))[:38])
        configuration = "reference"
        epochs = 3
    """
    values = asdict(settings.without_paths())
    ranges = values.pop("augmentation")
    return f"{_write_table(values)}\n[augmentation]\n{_write_table(ranges)}"


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file of settings, for `override_settings`.

    Returns:
        The settings in the file by name. Options of commands that are written with `-` also count with `_`.

    Raises:
        TrainingError: if the file is missing or no TOML.
    """
    try:
        values = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TrainingError(
            f"{path} cannot be read ({reason}); expected a TOML file of settings, with lines such as epochs = 20"
        ) from None
    return {name.replace("-", "_"): value for name, value in values.items()}


def _write_table(values: dict[str, Any]) -> str:
    # Plain JSON values are TOML values.
    lines = (
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items() if value is not None
    )
    return "".join(lines)
