"""The study, and each of its tasks alone."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumoscope.cli.options import (
    BackboneOption,
    BenchmarkOption,
    ClassifierOption,
    ClassifierTask,
    DataOption,
    EpochsOption,
    HoldOut,
    ImagesArgument,
    JsonOption,
    MapMethod,
    OneProfile,
    OutOption,
    PhotographsOption,
    ProfileChoice,
    ProfileOption,
    SeedOption,
    StudyOption,
    Task,
    TaskOption,
    TrainProfile,
    TrainProfileOption,
    WeightsOption,
)
from pneumoscope.cli.output import print_methods, print_metrics, print_outcome

if TYPE_CHECKING:
    from pneumoscope.models.settings import TrainingSettings

COMMANDS = typer.Typer()
INTERRUPTED = 130


@COMMANDS.command()
def study(
    data: DataOption = None,
    out: OutOption = Path("out"),
    profile: Annotated[
        ProfileChoice, typer.Option("--profile", "--recipe", help="Recipes to train; both: paper and best.")
    ] = ProfileChoice.BOTH,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a study that stopped.")] = False,
    new: Annotated[
        Path | None, typer.Option("--new", help="Folder or manifest of images to place on the maps.")
    ] = None,
) -> None:
    """Run every task, from a folder of radiographs to one report."""
    from pneumoscope.models.settings import PAPER_PROFILES
    from pneumoscope.study import run_study

    profiles = PAPER_PROFILES if profile is ProfileChoice.BOTH else (profile.value,)
    try:
        report = run_study(data, out, profiles=profiles, epochs=epochs, seed=seed, resume=resume, new_source=new)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command with --resume goes on from the last finished epoch", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(report)


@COMMANDS.command()
def train(
    data: DataOption = None,
    out: OutOption = Path("model"),
    task: TaskOption = None,
    profile: TrainProfileOption = None,
    backbone: BackboneOption = None,
    weights: WeightsOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Train one net; a run that was stopped goes on where it was."""
    from pneumoscope.radiographs.splits import split_dataset
    from pneumoscope.study import CLASSES, PHANTOM_EPOCHS, load_study_dataset
    from pneumoscope.tasks.anomaly.autoencoder import train_anomaly
    from pneumoscope.tasks.anomaly.normality_model import train_normality_model
    from pneumoscope.tasks.classify import train_classifier

    if data is None:
        epochs = epochs or PHANTOM_EPOCHS
    task, settings = _choose_recipe(task, profile, backbone, weights, epochs)
    dataset = split_dataset(load_study_dataset(data, out, seed=seed, size=settings.size), seed=seed)
    if task is Task.ANOMALY:
        train_model = train_normality_model if settings.profile == "normals" else train_anomaly
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
    profile: ProfileOption = OneProfile.FLAGSHIP,
    hold_out: Annotated[HoldOut, typer.Option("--hold-out", help="What a net has not seen.")] = HoldOut.PATIENTS,
    vary: Annotated[
        list[str] | None, typer.Option(help="A part of the recipe to change; more than one may be given.")
    ] = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
) -> None:
    """Judge a recipe, or one with a part changed, inside train; all runs into a folder fill its table, ablations.md."""
    from pneumoscope.models.settings import profile_settings
    from pneumoscope.radiographs.splits import split_dataset
    from pneumoscope.report.ablation_table import write_ablation_table
    from pneumoscope.study import PHANTOM_EPOCHS, load_study_dataset
    from pneumoscope.tasks.ablate import BASE, list_ablations, run_ablation

    settings = profile_settings(profile.value, epochs=epochs or (PHANTOM_EPOCHS if data is None else None))
    dataset = split_dataset(load_study_dataset(data, out, seed=seed, size=settings.size), seed=seed)
    for variant in vary or [BASE]:
        found = run_ablation(dataset, out, settings=settings, variant=variant, protocol=hold_out.value, seed=seed)
        print_metrics(found.metrics, f"{variant}, {found.split}")
    command = (
        f"pneumoscope crossvalidate --data DATA --recipe {profile.value} --epochs {settings.epochs} "
        "--hold-out PROTOCOL --vary VARIANT --seed SEED"
    )
    table = out / "ablations.md"
    write_ablation_table(list_ablations(out), table, recipe=profile.value, epochs=settings.epochs, command=command)
    typer.echo(table)


def _choose_recipe(
    task: Task | None, profile: TrainProfile | None, backbone: str | None, weights: str | None, epochs: int | None
) -> "tuple[Task, TrainingSettings]":
    from pneumoscope.errors import PneumoscopeError
    from pneumoscope.models.settings import profile_settings
    from pneumoscope.study import anomaly_settings

    profile = profile or (TrainProfile.TRANSFER if backbone else TrainProfile.BEST)
    if (backbone is None) != (weights is None) or (profile is TrainProfile.TRANSFER and not backbone):
        raise PneumoscopeError(
            "a net of others is named by two options; expected --backbone NAME and --weights, which is a FILE, "
            "imagenet (Keras downloads it) or none"
        )
    if task is None:
        task = Task.THREE_CLASS if backbone or profile is TrainProfile.FLAGSHIP else Task.BINARY
    if task is Task.ANOMALY:
        if backbone:
            raise PneumoscopeError("--task anomaly has a net of its own; expected it without --backbone")
        return task, anomaly_settings(profile.value, epochs=epochs)
    settings = profile_settings(profile.value, epochs=epochs)
    if backbone:
        settings = replace(settings, backbone=backbone, weights=None if weights == "none" else weights)
    return task, settings


@COMMANDS.command()
def neighbors(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    profile: ProfileOption = OneProfile.BEST,
    task: ClassifierOption = ClassifierTask.BINARY,
    benchmark: BenchmarkOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the known images most like others; without images, measure k-nearest neighbors on the test images."""
    if benchmark:
        from pneumoscope.benchmark import run_neighbors_benchmark

        print_methods(run_neighbors_benchmark(study_dir, profile.value), as_json=as_json)
        return
    from pneumoscope.revisit import Revisit, revisit_neighbors

    metrics, rows = revisit_neighbors(Revisit(study_dir, profile.value), task.value, images or [])
    print_outcome(metrics, rows, as_json=as_json)


@COMMANDS.command()
def labels(
    data: DataOption = None,
    crossvalidation: Annotated[
        Path, typer.Option(help="Folder that `crossvalidate --hold-out patients` left, of the same data and seed.")
    ] = Path("crossvalidation"),
    out: OutOption = Path("labels"),
    seed: SeedOption = 0,
) -> None:
    """List labels that nets which have not seen the patient contradict, one by one and in stretches, for review."""
    from pneumoscope.json_archive import write_json
    from pneumoscope.radiographs.audit import audit_dataset
    from pneumoscope.radiographs.splits import split_dataset
    from pneumoscope.report.labels_page import write_label_review
    from pneumoscope.report.verdicts import summarize_subtypes
    from pneumoscope.study import load_study_dataset
    from pneumoscope.tasks.ablate import load_told
    from pneumoscope.tasks.classify import hash_table
    from pneumoscope.tasks.label_stretches import find_error_runs
    from pneumoscope.tasks.labels import review_labels, vote_held_out

    told, nets_dir = load_told(crossvalidation, seed=seed)
    dataset = split_dataset(load_study_dataset(data, crossvalidation, seed=seed), seed=seed)
    votes = vote_held_out(dataset, told, nets_dir, seed=seed)
    subtypes = dict(zip(dataset.table["name"], dataset.table["subtype"], strict=True))
    review = review_labels(told, votes, audit_dataset(dataset), subtypes)
    stretches = find_error_runs(dataset, told)
    typer.echo(write_label_review(review, stretches, dataset, out))
    write_json(out / "label_audit.json", summarize_subtypes(stretches, hash_table(dataset)))


@COMMANDS.command("map")
def map_images(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("map"),
    profile: ProfileOption = OneProfile.BEST,
    task: ClassifierOption = ClassifierTask.BINARY,
    method: Annotated[MapMethod, typer.Option(help="How the map is made.")] = MapMethod.TSNE,
    as_json: JsonOption = False,
) -> None:
    """Draw the map of a study, with new images marked on it."""
    from pneumoscope.revisit import Revisit, revisit_map

    picture, rows = revisit_map(Revisit(study_dir, profile.value), task.value, images or [], out, method=method.value)
    print_outcome({}, [*rows, {"image": "all", "picture": str(picture)}], as_json=as_json)


@COMMANDS.command()
def anomaly(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    profile: ProfileOption = OneProfile.BEST,
    benchmark: BenchmarkOption = False,
    weights: PhotographsOption = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="For --benchmark: passes, not each method's own.")] = None,
    num_seeds: Annotated[int, typer.Option("--seeds", min=1, help="For --benchmark: how often each is fitted.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Tell how odd images are to a net that has seen only normals; without images, measure it on the test images."""
    if benchmark:
        from pneumoscope.benchmark import run_anomaly_benchmark

        table = run_anomaly_benchmark(study_dir, profile.value, weights=weights, epochs=epochs, num_seeds=num_seeds)
        print_methods(table, as_json=as_json)
        return
    from pneumoscope.revisit import Revisit, revisit_anomaly

    metrics, rows = revisit_anomaly(Revisit(study_dir, profile.value), images or [])
    print_outcome(metrics, rows, as_json=as_json)


@COMMANDS.command()
def explain(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("heatmaps"),
    profile: ProfileOption = OneProfile.BEST,
    method: Annotated[
        str, typer.Option(help="Method of the heat-maps, such as gradcam, hirescam or rise.")
    ] = "hirescam",
    layer: Annotated[str | None, typer.Option(help="Layer to look through; by default all that can be.")] = None,
    contrast: Annotated[
        bool,
        typer.Option("--contrast", help="Name the nearest image of the other class, and what differs."),
    ] = False,
    benchmark: BenchmarkOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show where the net of task 1.A looks; without images, measure it on the test images."""
    if benchmark:
        from pneumoscope.benchmark import run_explain_benchmark

        print_methods(run_explain_benchmark(study_dir, profile.value, layer=layer), as_json=as_json)
        return
    from pneumoscope.revisit import Revisit, revisit_contrast, revisit_explain

    if contrast:
        print_outcome({}, revisit_contrast(Revisit(study_dir, profile.value), images or []), as_json=as_json)
        return
    metrics, rows = revisit_explain(Revisit(study_dir, profile.value), images or [], out, method=method, layer=layer)
    print_outcome(metrics, rows, as_json=as_json)
