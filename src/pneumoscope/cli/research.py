"""Research: method benchmarks, ablations and label audits; each prints a table and writes JSON and CSV."""

from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import (
    ConfigurationName,
    ConfigurationOption,
    DataOption,
    EpochsOption,
    HoldOut,
    HoldOutOption,
    JsonOption,
    SeedOption,
    StudyOption,
)
from pneumoscope.cli.output import print_methods, print_outcome

COMMANDS = typer.Typer(
    help="Compare methods, ablate configurations, audit labels: a table, and the same as JSON and CSV.",
    no_args_is_help=True,
)
MOST_PRINTED = 40

OutOption = Annotated[Path, typer.Option("--out", help="Folder for the JSON and CSV files.")]


@COMMANDS.command()
def neighbors(
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("research"),
    configuration: ConfigurationOption = ConfigurationName.IMPROVED,
    as_json: JsonOption = False,
) -> None:
    """Task 2: measure retrieval, rejection, calibration and doubt of neighbors."""
    from pneumoscope.research.run import run_neighbors_benchmark

    print_methods(run_neighbors_benchmark(study_dir, configuration.value, out), as_json=as_json)


@COMMANDS.command()
def anomaly(
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("research"),
    configuration: ConfigurationOption = ConfigurationName.IMPROVED,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="File of Keras' MobileNet 0.75 without its top, pretrained on photographs."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of each method's own.")] = None,
    num_seeds: Annotated[int, typer.Option("--seeds", min=1, help="How often each method is fitted.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Task 3: fit a dozen anomaly detectors to normals; a run that was stopped goes on where it was."""
    from pneumoscope.research.run import run_anomaly_benchmark

    table = run_anomaly_benchmark(
        study_dir, configuration.value, out, weights=weights, epochs=epochs, num_seeds=num_seeds
    )
    print_methods(table, as_json=as_json)


@COMMANDS.command()
def explain(
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("research"),
    configuration: ConfigurationOption = ConfigurationName.IMPROVED,
    layer: Annotated[str | None, typer.Option(help="Layer of the class-activation maps; by default the last.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Task 4: measure how far to trust each explanation method."""
    from pneumoscope.research.run import run_explain_benchmark

    print_methods(run_explain_benchmark(study_dir, configuration.value, out, layer=layer), as_json=as_json)


@COMMANDS.command()
def ablate(
    data: DataOption = None,
    out: OutOption = Path("crossvalidation"),
    configuration: ConfigurationOption = ConfigurationName.DEFAULT,
    hold_out: HoldOutOption = HoldOut.PATIENTS,
    vary: Annotated[
        list[str] | None, typer.Option(help="A part of the configuration to change; more than one may be given.")
    ] = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Cross-validate a configuration with one part changed; the table holds all runs that stand in the folder."""
    from pneumoscope.cli.tasks import load_crossvalidation
    from pneumoscope.research.ablation import BASE
    from pneumoscope.research.run import run_ablations

    dataset, settings = load_crossvalidation(data, out, configuration.value, epochs, seed)
    variants = vary or [BASE]
    table = run_ablations(dataset, out, settings=settings, variants=variants, protocol=hold_out.value, seed=seed)
    print_methods(table, as_json=as_json)


@COMMANDS.command()
def labels(
    study_dir: StudyOption = Path("out"),
    crossvalidation: Annotated[
        Path, typer.Option(help="Folder that `crossvalidate --hold-out patients` left, of the same data and seed.")
    ] = Path("crossvalidation"),
    out: OutOption = Path("research"),
    as_json: JsonOption = False,
) -> None:
    """List labels that models which have not seen the patient contradict, one by one and in runs of file names."""
    from pneumoscope.io.results import MethodTable
    from pneumoscope.research.run import run_label_audit

    content = run_label_audit(study_dir, crossvalidation, out)
    if as_json:
        typer.echo((out / "labels.json").read_text(encoding="utf-8"))
        return
    print_methods(MethodTable({"bacterial against viral": content["figures"]}))
    for rows in (content["stretches"], content["labels"][:MOST_PRINTED]):
        if rows:
            print_outcome({}, rows, as_json=False)
    contradicted, wrong = len(content["labels"]), content["estimated_wrong"]
    typer.echo(
        f"{contradicted} of {content['num_labels']} labels are contradicted by a model and by neighbors; about "
        f"{wrong:.0f} are wrong by estimate. {content['verdict']}".rstrip()
    )
