"""The program `pneumoscope`: registers the commands and prints errors that a user can fix."""

import io
import logging
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.cli import data, evaluation, inference, pacs, read, research, training
from pneumoscope.errors import MissingExtraError, PneumoscopeError, escape_controls


class Command(TyperCommand):
    """A command whose error messages lack the prefix that Pydantic adds, and whose help may quote a model card."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the metrics of the included models."""
        if self.help and read.FLAG in self.help:
            from pneumoscope.inference.cards import AnomalyCard, load_card
            from pneumoscope.inference.decision import describe_flag
            from pneumoscope.inference.model_set import SHIPPED_DIR

            flag = describe_flag(load_card(AnomalyCard, SHIPPED_DIR / "anomaly"))
            self.help = self.help.replace(read.FLAG, flag)
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of the command line."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    help=f"Classify chest radiographs: use, train, evaluate and explain models. {RESEARCH_USE_ONLY}",
    epilog="Example: pneumoscope read image.png",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (data, evaluation, inference, pacs, read, research, training):
    for command in module.COMMANDS.registered_commands:
        command.cls = Command
for module in (read, inference, pacs, evaluation, training):
    app.add_typer(module.COMMANDS)
app.add_typer(data.COMMANDS, name="data")
app.add_typer(research.COMMANDS, name="research")

EXTRA_MODULES = {
    "umap": "umap",
    "obstore": "cloud",
    "ray": "ray",
    "pynetdicom": "pacs",
    "dicomweb_client": "pacs",
} | dict.fromkeys(("keras", "tensorflow", "cv2", "openTSNE", "onnx", "mapie"), "train")
USER_ERROR = 2


@app.callback(invoke_without_command=True)
def _start(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
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
    """Run the command line. An error that a user can fix prints one message and exits with 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack characters of a name
    try:
        app(standalone_mode=True)
    except PneumoscopeError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in EXTRA_MODULES:
            raise
        extra = EXTRA_MODULES[error.name]
        _fail(str(MissingExtraError(f"{error.name} is not installed; pip install '.[{extra}]'")))
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def _fail(message: str) -> None:
    typer.echo(f"pneumoscope: {escape_controls(message)}", err=True)
    sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
