"""The program: its commands, and what it says where one fails."""

import logging
import sys
from typing import Annotated

import typer

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.cli import data, evaluation, reading, research, tasks
from pneumoscope.cli.output import KerasCommand
from pneumoscope.errors import MissingExtraError, PneumoscopeError

app = typer.Typer(
    help=f"Reads chest radiographs for pneumonia: trained, checked and explained models. {RESEARCH_USE_ONLY}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (*tasks.COMMANDS.registered_commands, *research.COMMANDS.registered_commands):
    command.cls = KerasCommand
app.add_typer(reading.COMMANDS)
app.add_typer(evaluation.COMMANDS)
app.add_typer(tasks.COMMANDS)
app.add_typer(data.COMMANDS, name="data")
app.add_typer(research.COMMANDS, name="research")

EXTRA_MODULES = {
    "keras": "train",
    "tensorflow": "train",
    "cv2": "train",
    "openTSNE": "train",
    "umap": "umap",
    "onnx": "train",
    "mapie": "train",
}
USER_ERROR = 2


@app.callback(invoke_without_command=True)
def _start(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if show_version:
        typer.echo(f"pneumoscope {__version__}. {RESEARCH_USE_ONLY}")
        raise typer.Exit
    from rich.logging import RichHandler

    from pneumoscope.progress import console, log

    log.setLevel(logging.INFO)
    bar_safe = RichHandler(console=console, show_path=False, show_level=False)
    log.addHandler(bar_safe if console.is_terminal else logging.StreamHandler())


def main() -> None:
    """Run the command line; what a user can mend is told in one message, with exit code 2."""
    try:
        app(standalone_mode=True)
    except PneumoscopeError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in EXTRA_MODULES:
            raise
        extra = EXTRA_MODULES[error.name]
        _fail(str(MissingExtraError(f"{error.name} is not installed; pip install 'pneumoscope[{extra}]'")))
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def _fail(message: str) -> None:
    typer.echo(f"pneumoscope: {message}", err=True)
    sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
