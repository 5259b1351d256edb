"""`research`: method benchmarks, ablations and label audits. Each prints a table and writes JSON and CSV."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import (
    ConfigurationOption,
    DataArgument,
    HoldOutOption,
    JsonOption,
    OutOption,
    SeedOption,
    SettingsOption,
    StudyArgument,
    read_training,
    with_labels,
    with_training,
)
from pneumoscope.cli.output import print_methods, print_rows

if TYPE_CHECKING:
    from pneumoscope.data.label_options import LabelOptions

COMMANDS = typer.Typer(
    help="Benchmark methods, run ablations and audit labels; each command writes JSON and CSV.",
    epilog="Example: pneumoscope research explain out",
    no_args_is_help=True,
)
MAX_PRINTED = 40


@COMMANDS.command(epilog="Example: pneumoscope research neighbors out")
def neighbors(
    study_dir: StudyArgument = Path("out"),
    out: OutOption = Path("research"),
    configuration: ConfigurationOption = "improved",
    as_json: JsonOption = False,
) -> None:
    """Benchmark nearest neighbors: retrieval, rejection, calibration and uncertainty."""
    from pneumoscope.research.run import run_neighbors_benchmark

    print_methods(run_neighbors_benchmark(study_dir, configuration, out), as_json=as_json)


@COMMANDS.command(epilog="Example: pneumoscope research anomaly out --weights mobilenet.h5")
def anomaly(
    study_dir: StudyArgument = Path("out"),
    out: OutOption = Path("research"),
    configuration: ConfigurationOption = "improved",
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Weights file of Keras MobileNet 0.75 without top, pretrained on ImageNet."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs; each method's own by default.")] = None,
    num_seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds per method.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Benchmark anomaly detectors trained on normals.

    Run the same command again to resume a stopped benchmark.
    """
    from pneumoscope.research.run import run_anomaly_benchmark

    table = run_anomaly_benchmark(study_dir, configuration, out, weights=weights, epochs=epochs, num_seeds=num_seeds)
    print_methods(table, as_json=as_json)


@COMMANDS.command(epilog="Example: pneumoscope research explain out --configuration default")
def explain(
    study_dir: StudyArgument = Path("out"),
    out: OutOption = Path("research"),
    configuration: ConfigurationOption = "improved",
    layer: Annotated[str | None, typer.Option(help="Layer of the class activation maps; the last by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Benchmark explanation methods: faithfulness and stability."""
    from pneumoscope.research.run import run_explain_benchmark

    print_methods(run_explain_benchmark(study_dir, configuration, out, layer=layer), as_json=as_json)


@COMMANDS.command(
    epilog="Example: pneumoscope research ablate chest_xray --epochs 6 --vary framed --out crossvalidation"
)
@with_labels
@with_training
def ablate(
    context: typer.Context,
    data: DataArgument,
    labels: "LabelOptions",
    flags: dict[str, Any],
    out: OutOption = Path("crossvalidation"),
    configuration: ConfigurationOption = "default",
    hold_out: HoldOutOption = "patients",
    vary: Annotated[
        list[str] | None, typer.Option(help="Variant of the configuration, such as mixup; may be repeated.")
    ] = None,
    seed: SeedOption = 0,
    settings: SettingsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cross-validate variants of a configuration and compare all runs in the folder."""
    from pneumoscope.classifier import choose_settings
    from pneumoscope.cli.training import load_split
    from pneumoscope.research.ablation import BASE
    from pneumoscope.research.run import run_ablations

    chosen = choose_settings(configuration, **read_training(context, flags))
    dataset = load_split(data, out, labels, chosen.size, seed)
    table = run_ablations(dataset, out, settings=chosen, variants=vary or [BASE], protocol=hold_out, seed=seed)
    print_methods(table, as_json=as_json)


@COMMANDS.command(epilog="Example: pneumoscope research labels out --crossvalidation crossvalidation")
def labels(
    study_dir: StudyArgument = Path("out"),
    crossvalidation: Annotated[
        Path, typer.Option(help="Output of `crossvalidate --hold-out patients` on the same data and seed.")
    ] = Path("crossvalidation"),
    out: OutOption = Path("research"),
    as_json: JsonOption = False,
) -> None:
    """List labels that both cross-validated models and nearest neighbors contradict."""
    from pneumoscope.io.results import MethodTable
    from pneumoscope.research.run import run_label_audit

    audit = run_label_audit(study_dir, crossvalidation, out)
    if as_json:
        typer.echo((out / "labels.json").read_text(encoding="utf-8"))
        return
    print_methods(MethodTable({" against ".join(audit["group"]): audit["metrics"]}))
    for rows in filter(None, (audit["error_runs"], audit["labels"][:MAX_PRINTED])):
        print_rows(rows, as_json=False)
    typer.echo(
        f"A model and the nearest neighbors contradict {len(audit['labels'])} of {audit['num_labels']} labels. "
        f"Estimated number of wrong labels: {audit['estimated_wrong']:.0f}. {audit['verdict']}".rstrip()
    )
