"""`train`, `crossvalidate` and `study`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pneumoscope.cli.options import (
    Configuration,
    ConfigurationOption,
    DataArgument,
    EpochsOption,
    HoldOutOption,
    OptionalDataArgument,
    OutOption,
    SeedOption,
    SettingsOption,
    format_settings,
    read_training,
    with_labels,
    with_training,
)
from pneumoscope.cli.output import INTERRUPTED, print_metrics
from pneumoscope.errors import TrainingError

if TYPE_CHECKING:
    from pneumoscope.data.dataset import Dataset
    from pneumoscope.data.label_options import LabelOptions

COMMANDS = typer.Typer()


@COMMANDS.command(epilog="Example: pneumoscope train folder/ --architecture mobilenet --weights imagenet --out run")
@with_labels
@with_training
def train(
    context: typer.Context,
    data: DataArgument,
    labels: "LabelOptions",
    flags: dict[str, Any],
    out: OutOption = Path("run"),
    configuration: Annotated[
        Configuration | None, typer.Option(help="Basic settings; by default those of the included model.")
    ] = None,
    task: Annotated[
        Literal["binary", "classes", "anomaly"] | None,
        typer.Option(help="Negative class against all others; all classes (default); or anomaly detection."),
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Fine-tune a training run or .keras file with a new last layer."),
    ] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard logs.")] = None,
    devices: Annotated[
        int, typer.Option(min=1, help="Number of GPUs or other devices that share each batch; needs JAX.")
    ] = 1,
    seed: SeedOption = 0,
    settings: SettingsOption = None,
) -> None:
    """Train one model and print its metrics.

    The same command resumes a stopped training; with more --epochs it trains a finished model further.
    """
    from pneumoscope.anomaly.autoencoder import train_anomaly
    from pneumoscope.classification.classifier import train_classifier
    from pneumoscope.classifier import DATA_NAME, choose_settings
    from pneumoscope.io.json_file import write_json
    from pneumoscope.io.write import write_text
    from pneumoscope.models.devices import use_devices
    from pneumoscope.models.settings_file import SETTINGS_NAME
    from pneumoscope.study.settings import anomaly_settings

    given = read_training(context, flags)
    if task == "anomaly" and anomaly_settings(configuration or "default") is None:
        if devices > 1:
            raise TrainingError("the anomaly detector is fitted, not trained: expected no --devices")
        _fit_normality_model(data, out, labels, configuration or "default", given, seed)
        return
    if devices > 1:
        use_devices(devices)
    chosen = choose_settings(configuration, task=task, **given)
    dataset = load_split(data, out, labels, chosen.size, seed)
    if task == "anomaly":
        print_metrics(train_anomaly(dataset, out, settings=chosen, seed=seed)[1].metrics, "test")
        return
    label_set = dataset.label_set.binary() if task == "binary" else dataset.label_set
    result = train_classifier(
        dataset, out, label_set=label_set, settings=chosen, seed=seed, init_from=init_from, tensorboard=tensorboard
    )[1]
    write_text(out / SETTINGS_NAME, format_settings(context, chosen))
    write_json(out / DATA_NAME, {"source": data.absolute(), "labels": labels})
    for split, evaluation in result.evaluations.items():
        print_metrics(evaluation.metrics, split)


def _fit_normality_model(
    data: Path, out: Path, labels: "LabelOptions", configuration: str, given: dict[str, Any], seed: int
) -> None:
    from pneumoscope.anomaly.normality_model import fit_normality_model
    from pneumoscope.models.settings import configuration_settings

    size = given.pop("size", None) or configuration_settings(configuration).size
    if given:
        raise TrainingError(
            f"the anomaly detector of the configuration {configuration} is fitted, not trained: expected no option but "
            f"the image size, got {', '.join(given)}. Use --configuration improved for an autoencoder."
        )
    print_metrics(fit_normality_model(load_split(data, out, labels, size, seed), out, seed=seed)[1].metrics, "test")


def load_split(data: Path, out: Path | None, labels: "LabelOptions", size: int, seed: int) -> "Dataset":
    """Load a dataset with the training's cache of decoded images, and split it by patient."""
    from pneumoscope.data.dataset import load_dataset
    from pneumoscope.data.splits import split_dataset

    return split_dataset(load_dataset(data, size=size, cache_dir=out and out / "cache", options=labels), seed=seed)


@COMMANDS.command(epilog="Example: pneumoscope crossvalidate chest_xray --hold-out series --epochs 6 --out cv")
@with_labels
@with_training
def crossvalidate(
    context: typer.Context,
    data: DataArgument,
    labels: "LabelOptions",
    flags: dict[str, Any],
    out: OutOption = Path("crossvalidation"),
    configuration: ConfigurationOption = "default",
    hold_out: HoldOutOption = "patients",
    seed: SeedOption = 0,
    settings: SettingsOption = None,
) -> None:
    """Cross-validate a configuration on the images outside the test split."""
    from pneumoscope.classification.cross_validation import cross_validate
    from pneumoscope.classifier import choose_settings

    chosen = choose_settings(configuration, **read_training(context, flags))
    dataset = load_split(data, out, labels, chosen.size, seed)
    evaluation = cross_validate(dataset, out / f"seed-{seed}", settings=chosen, protocol=hold_out, seed=seed)
    print_metrics(evaluation.metrics, evaluation.split)


@COMMANDS.command(epilog="Example: pneumoscope study chest_xray --out out")
@with_labels
def study(
    labels: "LabelOptions",
    data: OptionalDataArgument = None,
    out: OutOption = Path("out"),
    configuration: Annotated[
        Literal["reference", "improved", "default", "both"] | None,
        typer.Option(
            "--configuration",
            help="Configuration to train; both is reference and improved. By default both for the classes of the "
            "reference study, else default.",
        ),
    ] = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a stopped study.")] = False,
    new: Annotated[Path | None, typer.Option("--new", help="Folder or table of new images to add to the maps.")] = None,
    settings: SettingsOption = None,
) -> None:
    """Run all tasks that the labels allow, write a report, and export the models to OUT/reader."""
    from pneumoscope.io.study_folder import load_stage
    from pneumoscope.models.settings import STUDY_CONFIGURATIONS
    from pneumoscope.report.audit_page import write_audit
    from pneumoscope.report.model_card import write_model_cards
    from pneumoscope.report.study_page import write_report
    from pneumoscope.study.pipeline import run_study

    configurations = STUDY_CONFIGURATIONS if configuration == "both" else configuration and (configuration,)
    try:
        dataset = run_study(
            data, out, configurations=configurations, epochs=epochs, seed=seed, resume=resume, new_source=new,
            options=labels,
        )  # fmt: skip
        write_audit(load_stage(out, "", "audit"), dataset, out / "audit")
        report = write_report(out, dataset)
        write_model_cards(out / "reader")
    except KeyboardInterrupt:
        typer.echo("stopped; add --resume to continue from the last finished epoch", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(report)
