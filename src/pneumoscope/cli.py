"""The command line: parse, call, print. Nothing heavy is imported before a command needs it."""

import json
import logging
import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.errors import MissingExtraError, PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.results import Estimate

app = typer.Typer(
    help=f"Reads chest radiographs for pneumonia: trained, checked and explained models. {RESEARCH_USE_ONLY}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Fetch, arrange, check or draw radiographs.", no_args_is_help=True)
app.add_typer(data_app, name="data")

EXTRA_MODULES = {"keras": "train", "tensorflow": "train", "cv2": "train", "openTSNE": "train"}
FIGURE_FIELDS = ("value", "low", "high", "n")
USER_ERROR = 2
INTERRUPTED = 130


class ProfileChoice(StrEnum):
    """Which recipe to train."""

    PAPER = "paper"
    BEST = "best"
    BOTH = "both"


class OneProfile(StrEnum):
    """A recipe."""

    PAPER = "paper"
    BEST = "best"


class Task(StrEnum):
    """A net to train."""

    BINARY = "binary"
    THREE_CLASS = "three_class"
    ANOMALY = "anomaly"


class ClassifierTask(StrEnum):
    """A classifier."""

    BINARY = "binary"
    THREE_CLASS = "three_class"


class DownloadSource(StrEnum):
    """Where to fetch the data set from."""

    AUTO = "auto"
    KAGGLE = "kaggle"
    MENDELEY = "mendeley"


DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder or CSV manifest of radiographs; phantoms are drawn without it.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for everything that is written.")]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Instead of the profile's 40 (phantoms: 6).")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]
StudyOption = Annotated[Path, typer.Option("--study", help="Folder that a study left.")]
ProfileOption = Annotated[OneProfile, typer.Option("--profile", help="Recipe of the model.")]
ClassifierOption = Annotated[ClassifierTask, typer.Option("--task", help="Which classifier.")]
ImagesArgument = Annotated[list[Path] | None, typer.Argument(help="Image files; without any, the study's test images.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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


@app.command()
def study(
    data: DataOption = None,
    out: OutOption = Path("out"),
    profile: Annotated[ProfileChoice, typer.Option(help="Recipes to train.")] = ProfileChoice.BOTH,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that stopped.")] = False,
    new: Annotated[
        Path | None, typer.Option("--new", help="Folder or manifest of images to place on the maps.")
    ] = None,
) -> None:
    """Run every task, from a folder of radiographs to one report."""
    from pneumoscope.models.settings import PROFILES
    from pneumoscope.study import run_study

    profiles = PROFILES if profile is ProfileChoice.BOTH else (profile.value,)
    try:
        report = run_study(data, out, profiles=profiles, epochs=epochs, seed=seed, resume=resume, new_source=new)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command with --resume goes on from the last finished epoch", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(report)


@app.command()
def train(
    data: DataOption = None,
    out: OutOption = Path("model"),
    task: Annotated[Task, typer.Option(help="Which net.")] = Task.BINARY,
    profile: ProfileOption = OneProfile.BEST,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Train one net; a run that was stopped goes on where it was."""
    from pneumoscope.models.settings import autoencoder_settings, profile_settings
    from pneumoscope.radiographs.splits import split_dataset
    from pneumoscope.study import CLASSES, PHANTOM_EPOCHS, load_study_dataset
    from pneumoscope.tasks.anomaly import train_anomaly
    from pneumoscope.tasks.classify import train_classifier

    dataset = split_dataset(load_study_dataset(data, out, seed=seed), seed=seed)
    if data is None:
        epochs = epochs or PHANTOM_EPOCHS
    if task is Task.ANOMALY:
        settings = autoencoder_settings(profile.value, epochs=epochs)
        _, anomaly = train_anomaly(dataset, out, settings=settings, seed=seed)
        _print_metrics(anomaly.metrics, "test")
        return
    settings = profile_settings(profile.value, epochs=epochs)
    _, trained = train_classifier(dataset, out, classes=CLASSES[task.value], settings=settings, seed=seed)
    for name, evaluation in trained.evaluations.items():
        _print_metrics(evaluation.metrics, name)


@app.command()
def evaluate(
    study_dir: StudyOption = Path("out"),
    data: Annotated[Path | None, typer.Option("--data", help="Other images than the study's: all are read.")] = None,
    profile: ProfileOption = OneProfile.BEST,
    task: ClassifierOption = ClassifierTask.BINARY,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a classifier of a study on its test images, or on other ones."""
    from pneumoscope.models.bundle import load_bundle
    from pneumoscope.radiographs.dataset import load_dataset
    from pneumoscope.study import CLASSES, reopen_study
    from pneumoscope.tasks.classify import evaluate_classifier

    model = load_bundle(study_dir / "models" / f"{profile}-{task}").model
    if data is None:
        dataset, split = reopen_study(study_dir)[1], "test"
    else:
        dataset, split = load_dataset(data).as_split("external"), "external"
    evaluation = evaluate_classifier(model, dataset, classes=CLASSES[task.value], split=split)
    _print_metrics(evaluation.metrics, split, as_json=as_json)


@app.command()
def neighbors(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    profile: ProfileOption = OneProfile.BEST,
    task: ClassifierOption = ClassifierTask.BINARY,
    as_json: JsonOption = False,
) -> None:
    """Find the known images most like others; without images, measure k-nearest neighbors on the test images."""
    from pneumoscope.revisit import Revisit, revisit_neighbors

    metrics, rows = revisit_neighbors(Revisit(study_dir, profile.value), task.value, images or [])
    _print_outcome(metrics, rows, as_json=as_json)


@app.command("map")
def draw_map(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("map"),
    profile: ProfileOption = OneProfile.BEST,
    task: ClassifierOption = ClassifierTask.BINARY,
    as_json: JsonOption = False,
) -> None:
    """Draw the t-SNE map of a study, with new images marked on it."""
    from pneumoscope.revisit import Revisit, revisit_map

    picture, rows = revisit_map(Revisit(study_dir, profile.value), task.value, images or [], out)
    _print_outcome({}, [*rows, {"image": "all", "picture": str(picture)}], as_json=as_json)


@app.command()
def anomaly(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    profile: ProfileOption = OneProfile.BEST,
    as_json: JsonOption = False,
) -> None:
    """Tell how odd images are to a net that has seen only normals; without images, measure it on the test images."""
    from pneumoscope.revisit import Revisit, revisit_anomaly

    metrics, rows = revisit_anomaly(Revisit(study_dir, profile.value), images or [])
    _print_outcome(metrics, rows, as_json=as_json)


@app.command()
def explain(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("heatmaps"),
    profile: ProfileOption = OneProfile.BEST,
    as_json: JsonOption = False,
) -> None:
    """Show where the net of task 1.A looks; without images, measure it on the test images."""
    from pneumoscope.revisit import Revisit, revisit_explain

    metrics, rows = revisit_explain(Revisit(study_dir, profile.value), images or [], out)
    _print_outcome(metrics, rows, as_json=as_json)


@data_app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder of radiographs, left as it is.")],
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files instead of linking to them.")] = False,
) -> None:
    """Arrange the folders into normal, bacterial and viral."""
    from pneumoscope.radiographs.prepare import prepare_folders

    typer.echo(prepare_folders(source, out, copy=copy))


@data_app.command()
def audit(
    data: Annotated[Path, typer.Argument(help="Folder or CSV manifest of radiographs.")],
    out: OutOption = Path("audit"),
) -> None:
    """Count, compare and picture a collection, and tell what is wrong with it."""
    from pneumoscope.radiographs.audit import audit_dataset
    from pneumoscope.radiographs.dataset import load_dataset
    from pneumoscope.report.audit_page import format_audit, write_audit

    dataset = load_dataset(data)
    found = audit_dataset(dataset)
    page = write_audit(found, dataset, out)
    typer.echo(format_audit(found))
    typer.echo(page)


@data_app.command()
def download(
    out: Annotated[Path, typer.Argument(help="Folder to fetch to.")],
    source: Annotated[DownloadSource, typer.Option(help="Where from.")] = DownloadSource.AUTO,
) -> None:
    """Fetch "Chest X-Ray Images (Pneumonia)" (Kermany, Zhang, Goldbaum 2018, CC BY 4.0)."""
    from pneumoscope.radiographs.download import download_collection

    typer.echo(download_collection(out, source=source.value))


@data_app.command()
def phantoms(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    num_train: Annotated[int, typer.Option(min=30)] = 900,
    num_test: Annotated[int, typer.Option(min=30)] = 240,
    seed: SeedOption = 0,
) -> None:
    """Draw phantoms with known lesions, in the folders and names of the real set."""
    from pneumoscope.radiographs.phantoms import write_phantoms

    typer.echo(write_phantoms(out, num_train=num_train, num_test=num_test, seed=seed))


def _print_outcome(metrics: "dict[str, Estimate]", rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if not rows:
        _print_metrics(metrics, "test", as_json=as_json)
    elif as_json:
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "rows": rows}))
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        _print_table(None, names, [[str(row.get(name, "")) for name in names] for row in rows])


def _print_metrics(metrics: "dict[str, Estimate]", split: str, *, as_json: bool = False) -> None:
    if as_json:
        figures = {
            name: {field: _finite(getattr(figure, field)) for field in FIGURE_FIELDS}
            for name, figure in metrics.items()
        }
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, "split": split, "metrics": figures}))
        return
    rows = [
        [name, *(f"{number:.3f}" for number in (figure.value, figure.low, figure.high)), str(figure.n)]
        for name, figure in metrics.items()
    ]
    _print_table(f"{split}: figures with 95 % intervals that resample patients", ["figure", *FIGURE_FIELDS], rows)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _print_table(title: str | None, columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, caption=RESEARCH_USE_ONLY)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


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
