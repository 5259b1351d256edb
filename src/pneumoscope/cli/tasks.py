"""The study, and each of its tasks alone."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.cli.options import (
    BackboneOption,
    ClassifierOption,
    ClassifierTask,
    ConfigurationName,
    ConfigurationOption,
    DataOption,
    EpochsOption,
    HoldOut,
    HoldOutOption,
    ImagesArgument,
    JsonOption,
    MapMethod,
    OutOption,
    SeedOption,
    StudyConfigurations,
    StudyOption,
    Task,
    TaskOption,
    TrainConfigurationName,
    TrainConfigurationOption,
    WeightsOption,
)
from pneumoscope.cli.output import print_metrics, print_outcome

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset
    from pneumoscope.models.settings import TrainingSettings
    from pneumoscope.study.rerun import ExplainedFile

COMMANDS = typer.Typer()
INTERRUPTED = 130


@COMMANDS.command()
def study(
    data: DataOption = None,
    out: OutOption = Path("out"),
    configuration: Annotated[
        StudyConfigurations, typer.Option("--configuration", help="Recipes to train; both: paper and best.")
    ] = StudyConfigurations.BOTH,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that stopped.")] = False,
    new: Annotated[
        Path | None, typer.Option("--new", help="Folder or manifest of images to place on the maps.")
    ] = None,
) -> None:
    """Run every task, from a folder of radiographs to one report."""
    from pneumoscope.io.archive import load_result
    from pneumoscope.models.settings import STUDY_CONFIGURATIONS
    from pneumoscope.report.audit_page import write_audit
    from pneumoscope.report.study_page import write_report
    from pneumoscope.study.pipeline import run_study

    configurations = STUDY_CONFIGURATIONS if configuration is StudyConfigurations.BOTH else (configuration.value,)
    try:
        dataset = run_study(
            data, out, configurations=configurations, epochs=epochs, seed=seed, resume=resume, new_source=new
        )
        write_audit(load_result(out / "stages" / "audit.npz"), dataset, out / "audit")
        report = write_report(out, dataset)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command with --resume goes on from the last finished epoch", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(report)


@COMMANDS.command()
def train(
    data: DataOption = None,
    out: OutOption = Path("model"),
    task: TaskOption = None,
    configuration: TrainConfigurationOption = None,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Train one net; a run that was stopped goes on where it was."""
    from pneumoscope.anomaly.autoencoder import train_anomaly
    from pneumoscope.anomaly.normality_model import train_normality_model
    from pneumoscope.classification.classifier import train_classifier
    from pneumoscope.data.splits import split_dataset
    from pneumoscope.study.pipeline import CLASSES, PHANTOM_EPOCHS, load_study_dataset

    if data is None:
        epochs = epochs or PHANTOM_EPOCHS
    task, settings = _choose_recipe(task, configuration, backbone, weights, epochs)
    dataset = split_dataset(load_study_dataset(data, out, seed=seed, size=settings.size), seed=seed)
    if task is Task.ANOMALY:
        train_model = train_normality_model if settings.configuration == "normals" else train_anomaly
        _, anomaly = train_model(dataset, out, settings=settings, seed=seed)
        print_metrics(anomaly.metrics, "test")
        return
    _, trained = train_classifier(dataset, out, classes=CLASSES[task.value], settings=settings, seed=seed)
    for name, evaluation in trained.evaluations.items():
        print_metrics(evaluation.metrics, name)


@COMMANDS.command()
def crossvalidate(
    data: DataOption = None,
    out: OutOption = Path("crossvalidation"),
    configuration: ConfigurationOption = ConfigurationName.DEFAULT,
    hold_out: HoldOutOption = HoldOut.PATIENTS,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Judge a recipe inside train, each image by a model that has not seen what is held out with it."""
    from pneumoscope.research.ablation import run_ablation

    dataset, settings = load_crossvalidation(data, out, configuration.value, epochs, seed)
    evaluation = run_ablation(dataset, out, settings=settings, protocol=hold_out.value, seed=seed)
    print_metrics(evaluation.metrics, evaluation.split)


def load_crossvalidation(
    data: Path | None, out: Path, configuration: str, epochs: int | None, seed: int
) -> "tuple[Dataset, TrainingSettings]":
    """Return the images, split, and the settings of a cross-validation."""
    from pneumoscope.data.splits import split_dataset
    from pneumoscope.models.settings import configuration_settings
    from pneumoscope.study.pipeline import PHANTOM_EPOCHS, load_study_dataset

    settings = configuration_settings(configuration, epochs=epochs or (PHANTOM_EPOCHS if data is None else None))
    return split_dataset(load_study_dataset(data, out, seed=seed, size=settings.size), seed=seed), settings


def _choose_recipe(
    task: Task | None,
    configuration: TrainConfigurationName | None,
    backbone: str | None,
    weights: str | None,
    epochs: int | None,
) -> "tuple[Task, TrainingSettings]":
    from pneumoscope.errors import PneumoscopeError
    from pneumoscope.models.settings import configuration_settings
    from pneumoscope.study.pipeline import anomaly_settings

    configuration = configuration or (TrainConfigurationName.TRANSFER if backbone else TrainConfigurationName.IMPROVED)
    if (backbone is None) != (weights is None) or (configuration is TrainConfigurationName.TRANSFER and not backbone):
        raise PneumoscopeError(
            "a net of others is named by two options; expected --backbone NAME and --weights, which is a FILE, "
            "imagenet (Keras downloads it) or none"
        )
    if task is None:
        task = Task.THREE_CLASS if backbone or configuration is TrainConfigurationName.DEFAULT else Task.BINARY
    if task is Task.ANOMALY:
        if backbone:
            raise PneumoscopeError("--task anomaly has a net of its own; expected it without --backbone")
        return task, anomaly_settings(configuration.value, epochs=epochs)
    settings = configuration_settings(configuration.value, epochs=epochs)
    if backbone:
        settings = replace(settings, backbone=backbone, weights=None if weights == "none" else weights)
    return task, settings


@COMMANDS.command()
def neighbors(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    configuration: ConfigurationOption = ConfigurationName.IMPROVED,
    task: ClassifierOption = ClassifierTask.BINARY,
    as_json: JsonOption = False,
) -> None:
    """Find the known images most like others; without images, print the study's metrics of k-nearest neighbors."""
    from pneumoscope.io.study_folder import load_stage
    from pneumoscope.study.rerun import Rerun, rerun_neighbors

    if images:
        print_outcome({}, rerun_neighbors(Rerun(study_dir, configuration.value, task.value), images), as_json=as_json)
        return
    result = load_stage(study_dir, configuration.value, f"neighbors_{task.value}")
    metrics = {**result.evaluations["test"].metrics, "agreement": result.agreement}
    print_metrics(metrics, "test", as_json=as_json)


@COMMANDS.command("map")
def map_images(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("map"),
    configuration: ConfigurationOption = ConfigurationName.IMPROVED,
    task: ClassifierOption = ClassifierTask.BINARY,
    method: Annotated[MapMethod, typer.Option(help="How the map is made.")] = MapMethod.TSNE,
    as_json: JsonOption = False,
) -> None:
    """Draw the map of a study, with new images marked on it."""
    from pneumoscope.io.study_folder import stage_name
    from pneumoscope.report.figures import neighbors as figures
    from pneumoscope.report.figures.palette import save_figure
    from pneumoscope.study.rerun import Rerun, rerun_map

    placed, rows = rerun_map(Rerun(study_dir, configuration.value, task.value), images or [], method=method.value)
    figure = figures.plot_map(placed, title=f"Map of {task.value}, {configuration.value}")
    stem = out / stage_name(configuration.value, f"map_{task.value}")
    save_figure(figure, stem, note=RESEARCH_USE_ONLY, description=figures.describe_map(placed))
    print_outcome({}, [*rows, {"image": "all", "picture": f"{stem}.png"}], as_json=as_json)


@COMMANDS.command()
def anomaly(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    configuration: ConfigurationOption = ConfigurationName.IMPROVED,
    as_json: JsonOption = False,
) -> None:
    """Score images by a model that has seen only normals; without images, print the study's metrics of it."""
    from pneumoscope.io.study_folder import load_stage
    from pneumoscope.study.rerun import Rerun, rerun_anomaly

    if images:
        print_outcome({}, rerun_anomaly(Rerun(study_dir, configuration.value), images), as_json=as_json)
        return
    print_metrics(load_stage(study_dir, configuration.value, "anomaly").metrics, "test", as_json=as_json)


@COMMANDS.command()
def explain(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("heatmaps"),
    configuration: ConfigurationOption = ConfigurationName.IMPROVED,
    method: Annotated[
        str, typer.Option(help="Method of the heat-maps, such as gradcam, hirescam or rise.")
    ] = "hirescam",
    layer: Annotated[str | None, typer.Option(help="Layer to look through; by default all that can be.")] = None,
    contrast: Annotated[
        bool,
        typer.Option("--contrast", help="Name the nearest image of the other class, and what differs."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show where the net of task 1.A looks; without images, print the study's metrics of its heat-maps."""
    from pneumoscope.io.study_folder import load_stage
    from pneumoscope.study.rerun import Rerun, rerun_explain, revisit_contrast

    rerun = Rerun(study_dir, configuration.value)
    if contrast:
        print_outcome({}, revisit_contrast(rerun, images or []), as_json=as_json)
    elif images:
        files, rows = rerun_explain(rerun, images, method=method, layer=layer)
        rows += [_draw_heatmaps(file, out, number, method) for number, file in enumerate(files, start=1)]
        print_outcome({}, rows, as_json=as_json)
    else:
        print_metrics(load_stage(study_dir, configuration.value, "explain").metrics, "test", as_json=as_json)


def _draw_heatmaps(file: "ExplainedFile", out: Path, number: int, method: str) -> dict[str, Any]:
    """Write the heat-maps of a file as a picture, and return its row."""
    from pneumoscope.data.source import printable_name
    from pneumoscope.report.figures.explain import draw_heatmaps
    from pneumoscope.report.figures.palette import save_figure

    title = f"{file.path.name}: {file.decision}"
    figure = draw_heatmaps(file.image / 255, file.heatmaps, file.views, title=title)
    stem = out / f"{number:03d}-{file.path.stem}"
    description = f"{method}, {', '.join(file.views)}, over {file.path.name}, which the net called {file.decision}."
    save_figure(figure, stem, note=RESEARCH_USE_ONLY, description=description)
    return {
        "image": printable_name(file.path),
        "decision": file.decision,
        "p_pneumonia": round(file.p_pneumonia, 4),
        "heatmaps": f"{stem}.png",
    }
