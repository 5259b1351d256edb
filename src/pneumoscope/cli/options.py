"""Options and arguments that commands share."""

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pneumoscope.errors import PneumoscopeError
from pneumoscope.io.storage import fetch_data
from pneumoscope.models.keras_file import PREPROCESSING

if TYPE_CHECKING:
    from pneumoscope.models.settings import TrainingSettings

Configuration = Literal["reference", "improved", "default", "large"]
HoldOut = Literal["patients", "series", "images"]

DATA_HELP = "Folder or table (CSV, TSV, Parquet) of labeled radiographs, or URL of one"
DataArgument = Annotated[Path, typer.Argument(metavar="DATA", parser=fetch_data, help=f"{DATA_HELP}.")]
OptionalDataArgument = Annotated[
    Path | None, typer.Argument(metavar="[DATA]", parser=fetch_data, help=f"{DATA_HELP}; phantoms by default.")
]
OutOption = Annotated[Path, typer.Option("--out", file_okay=False, help="Output folder.")]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="A training run, an exported reader, a study, or a .keras or .onnx file; the included models by default.",
    ),
]
KerasModelOption = Annotated[
    Path | None, typer.Option("--model", metavar="MODEL", help="A training run, a study or a .keras file.")
]
ReaderOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="MODEL", help="An exported reader or a study; the included models by default."),
]
IgnorePopulationOption = Annotated[
    bool,
    typer.Option(
        "--ignore-population",
        help="Predict for ages and views outside of those of the training images; such images are flagged.",
    ),
]
StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of a study.")]
ConfigurationOption = Annotated[Configuration, typer.Option("--configuration", help="Configuration of the model.")]
HoldOutOption = Annotated[
    HoldOut,
    typer.Option(
        "--hold-out", help="What a fold holds out: patients, one series of file names of the negative class, or images."
    ),
]
OperatingPointOption = Annotated[
    str, typer.Option(help="screening, balanced, specific, or a threshold in [0, 1] on the probability.")
]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Number of epochs; the configuration's own by default.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Random seed.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PreprocessOption = Annotated[
    str | None,
    typer.Option(
        help=f"Input of a .keras or .onnx file: {', '.join(PREPROCESSING)}. Not needed if the model begins with "
        "Rescaling or Normalization."
    ),
]


def _read_settings(context: typer.Context, path: Path | None) -> Path | None:
    """Use the values of a TOML file as defaults; `read_training` returns those that are no options."""
    from pneumoscope.models.settings import TrainingSettings
    from pneumoscope.models.settings_file import read_settings

    if path is None:
        return None
    flags = _list_flags(context)
    fields = set(TrainingSettings.__dataclass_fields__) if "architecture" in flags else set()
    values = read_settings(path)
    if unknown := sorted(set(values) - set(flags) - fields):
        raise PneumoscopeError(
            f"{path} sets {', '.join(unknown)}; expected some of {', '.join(sorted({*flags, *fields}))}"
        )
    own = {name for name, value in values.items() if name not in flags or isinstance(value, dict)}
    context.meta["training"] = {name: values[name] for name in own}
    context.default_map = {flags[name]: value for name, value in values.items() if name not in own}
    return path


def read_training(context: typer.Context, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the training settings of `--settings` and of the flags; flags win."""
    given = {name: value for name, value in flags.items() if value is not None}
    return {**context.meta.get("training", {}), **given}


def _list_flags(context: typer.Context) -> dict[str, str]:
    """Return the parameter of each flag, such as `batch_size`, that a settings file can set."""
    return {
        flag.removeprefix("--").replace("-", "_"): str(parameter.name)
        for parameter in context.command.params
        for flag in parameter.opts
        if flag.startswith("--") and flag not in ("--settings", "--help")
    }


def format_settings(context: typer.Context, settings: "TrainingSettings") -> str:
    """Return all options of a training as TOML for `--settings`."""
    from pneumoscope.models.settings_file import settings_to_toml

    lines = []
    for flag, parameter in sorted(_list_flags(context).items()):
        value = context.params.get(parameter)
        if value not in (None, [], ()) and not hasattr(settings, flag) and flag not in ("out", "tensorboard"):
            value = [str(item) for item in value] if isinstance(value, tuple | list) else value
            lines.append(f"{flag} = {json.dumps(str(value) if isinstance(value, Path) else value)}\n")
    return "".join(lines) + settings_to_toml(settings)


SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE.toml",
        is_eager=True,
        callback=_read_settings,
        help="Defaults of all options, such as batch-size = 16; flags win.",
    ),
]


def add_options(
    name: str, options: Mapping[str, tuple[Any, Any]], build: Callable[..., Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds options to a command; the command gets them as one argument.

    Args:
        name: name of the argument.
        options: annotation and default of each option.
        build: makes the argument from the values of the options.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**values: Any) -> None:
            own = {option: values.pop(option) for option in options}
            command(**values, **{name: build(**own)})

        signature = inspect.signature(command)
        kept = [parameter for parameter in signature.parameters.values() if parameter.name != name]
        added = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for option, (annotation, default) in options.items()
        ]
        run.__signature__ = signature.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*kept, *added]}
        return run

    return decorate


_label = partial(typer.Option, rich_help_panel="Labels")
_LABELS: dict[str, tuple[Any, Any]] = {
    "classes": (Annotated[str | None, _label(help="Classes in their order, as a,b,c; others are left out.")], None),
    "label_map": (
        Annotated[list[str] | None, _label("--map", help="Rename a class, as 'TB=tuberculosis'.")],
        None,
    ),
    "negative": (
        Annotated[str | None, _label(help="Class without a finding; guessed from its name by default.")],
        None,
    ),
    "group": (Annotated[list[str] | None, _label(help="Join classes, as 'abnormal=covid,tuberculosis'.")], None),
    "path_column": (Annotated[str | None, _label(help="Column of the image paths.")], None),
    "label_column": (Annotated[list[str] | None, _label(help="Column of the labels; several for findings.")], None),
    "patient_column": (Annotated[str | None, _label(help="Column of the patients.")], None),
    "split_column": (Annotated[str | None, _label(help="Column of the splits.")], None),
    "multi_label": (
        Annotated[bool, _label("--multi-label", help="Read labels as findings, even if no image has several.")],
        False,
    ),
    "data_set": (Annotated[str | None, _label(help="Known data set; recognized by its columns by default.")], None),
}


def _build_labels(**options: Any) -> Any:
    from pneumoscope.data.label_options import LabelOptions

    return LabelOptions.parse(map=options.pop("label_map", None) or (), group=options.pop("group") or (), **options)


with_labels = add_options("labels", _LABELS, _build_labels)
_NAMES = {name: _LABELS[name] for name in ("classes", "negative", "group", "multi_label")}
with_classes = add_options("labels", _NAMES, _build_labels)  # of a model without a card

_train = partial(typer.Option, rich_help_panel="Training")
_TRAINING: dict[str, tuple[Any, Any]] = {
    "architecture": (
        Annotated[str | None, _train(metavar="NAME", help="Registered name, FILE.keras or module:function.")],
        None,
    ),
    "size": (Annotated[int | None, _train(min=32, help="Side of the images in pixels.")], None),
    "batch_size": (Annotated[int | None, _train(min=1, help="Images per step.")], None),
    "learning_rate": (Annotated[float | None, _train(help="Learning rate, or its peak.")], None),
    "epochs": (EpochsOption, None),
    "optimizer": (Annotated[Literal["adam", "adamw", "sgd"] | None, _train(help="Optimizer.")], None),
    "augmentation": (
        Annotated[Literal["none", "light", "default", "strong"] | None, _train(help="Random changes of images.")],
        None,
    ),
    "class_weights": (Annotated[Literal["none", "balanced"] | None, _train(help="Weights of the classes.")], None),
    "patience": (Annotated[int | None, _train(min=1, help="Stop after so many epochs without improvement.")], None),
    "weights": (
        Annotated[
            str | None,
            _train(metavar="FILE|imagenet|none", help="Weights of the architecture; imagenet is a download."),
        ],
        None,
    ),
}
with_training = add_options("flags", _TRAINING, dict)
