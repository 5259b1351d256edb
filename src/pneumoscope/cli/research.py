"""`research`: method benchmarks. Each prints a table and writes JSON and CSV."""

from pathlib import Path
from typing import Annotated

import typer

from pneumoscope.cli.options import ConfigurationOption, JsonOption, OutOption, StudyArgument
from pneumoscope.cli.output import print_methods

COMMANDS = typer.Typer(
    help="Benchmark methods; each command writes JSON and CSV.",
    epilog="Example: pneumoscope research explain out",
    no_args_is_help=True,
)


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
