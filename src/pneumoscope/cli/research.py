"""`research`: method benchmarks and label audits. Each prints a table and writes JSON and CSV."""

from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import ConfigurationOption, JsonOption, OutOption, StudyArgument
from pneumoscope.cli.output import print_methods, print_rows

COMMANDS = typer.Typer(
    help="Benchmark methods and audit labels; each command writes JSON and CSV.",
    epilog="Example: pneumoscope research explain out",
    no_args_is_help=True,
)
MAX_PRINTED = 40


@COMMANDS.command(epilog="Example: pneumoscope research anomaly out")
def anomaly(
    study_dir: StudyArgument = Path("out"),
    out: OutOption = Path("research"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs of the autoencoder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Benchmark anomaly detectors trained on normals.

    Run the same command again to resume a stopped benchmark.
    """
    from pneumoscope.research.run import run_anomaly_benchmark

    print_methods(run_anomaly_benchmark(study_dir, out, epochs=epochs), as_json=as_json)


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
    if audit["group"]:
        print_methods(MethodTable({" against ".join(audit["group"]): audit["metrics"]}))
    for rows in filter(None, (audit["error_runs"], audit["labels"][:MAX_PRINTED])):
        print_rows(rows, as_json=False)
    typer.echo(
        f"A model and the nearest neighbors contradict {len(audit['labels'])} of {audit['num_labels']} labels. "
        f"Estimated number of wrong labels: {audit['estimated_wrong']:.0f}. {audit['verdict']}".rstrip()
    )
