"""`study`, and its models on new images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pneumoscope.cli.options import (
    ClassifierOption,
    Configuration,
    ConfigurationOption,
    DataOption,
    EpochsOption,
    ImagesArgument,
    JsonOption,
    OutOption,
    SeedOption,
    StudyOption,
)
from pneumoscope.cli.output import INTERRUPTED, print_metrics, print_rows
from pneumoscope.errors import PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.study.rerun import ExplainedFile

COMMANDS = typer.Typer()


@COMMANDS.command(epilog="Example: pneumoscope study --data chest_xray --out out")
def study(
    data: DataOption = None,
    out: OutOption = Path("out"),
    configuration: Annotated[
        Literal[Configuration, "both"],
        typer.Option("--configuration", help="Configuration to train; both trains reference and improved."),
    ] = "both",
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a stopped study.")] = False,
    new: Annotated[
        Path | None, typer.Option("--new", help="Folder or table (CSV, TSV, Parquet) of new images to add to the maps.")
    ] = None,
) -> None:
    """Run all tasks on a data set and write a report."""
    from pneumoscope.io.study_folder import load_stage
    from pneumoscope.models.settings import STUDY_CONFIGURATIONS
    from pneumoscope.report.audit_page import write_audit
    from pneumoscope.report.study_page import write_report
    from pneumoscope.study.pipeline import run_study

    configurations = STUDY_CONFIGURATIONS if configuration == "both" else (configuration,)
    try:
        dataset = run_study(
            data, out, configurations=configurations, epochs=epochs, seed=seed, resume=resume, new_source=new
        )
        write_audit(load_stage(out, "", "audit"), dataset, out / "audit")
        report = write_report(out, dataset)
    except KeyboardInterrupt:
        typer.echo("stopped; add --resume to continue from the last finished epoch", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(report)


@COMMANDS.command(epilog="Example: pneumoscope neighbors image.jpeg --study out")
def neighbors(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    configuration: ConfigurationOption = "improved",
    task: ClassifierOption = "binary",
    as_json: JsonOption = False,
) -> None:
    """Find the nearest reference cases of each image."""
    from pneumoscope.io.study_folder import load_stage
    from pneumoscope.study.rerun import Rerun, rerun_neighbors

    if images:
        print_rows(rerun_neighbors(Rerun(study_dir, configuration, task), images), as_json=as_json)
        return
    result = load_stage(study_dir, configuration, f"neighbors_{task}")
    print_metrics(result.evaluations["test"].metrics | {"agreement": result.agreement}, "test", as_json=as_json)


@COMMANDS.command("map", epilog="Example: pneumoscope map image.jpeg --study out --out map")
def map_images(
    images: Annotated[list[Path] | None, typer.Argument(help="New image files to mark on the map.")] = None,
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("map"),
    configuration: ConfigurationOption = "improved",
    task: ClassifierOption = "binary",
    method: Annotated[Literal["tsne", "umap"], typer.Option(help="Dimensionality reduction.")] = "tsne",
    as_json: JsonOption = False,
) -> None:
    """Draw a map of a study's embeddings and mark new images on it."""
    from pneumoscope.io.study_folder import stage_name
    from pneumoscope.report.figures import neighbors as figures
    from pneumoscope.report.figures.palette import save_figure
    from pneumoscope.study.rerun import Rerun, rerun_map

    placed, rows = rerun_map(Rerun(study_dir, configuration, task), images or [], method=method)
    figure = figures.draw_map(placed, title=f"Map of {task}, {configuration}")
    stem = out / stage_name(configuration, f"map_{task}")
    save_figure(figure, stem)
    print_rows([*rows, {"image": "all", "figure": f"{stem}.png"}], as_json=as_json)


@COMMANDS.command(epilog="Example: pneumoscope anomaly image.jpeg --study out")
def anomaly(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    configuration: ConfigurationOption = "improved",
    as_json: JsonOption = False,
) -> None:
    """Compute the anomaly score of each image."""
    from pneumoscope.io.study_folder import load_stage
    from pneumoscope.study.rerun import Rerun, rerun_anomaly

    if images:
        print_rows(rerun_anomaly(Rerun(study_dir, configuration), images), as_json=as_json)
        return
    print_metrics(load_stage(study_dir, configuration, "anomaly").metrics, "test", as_json=as_json)


@COMMANDS.command(epilog="Example: pneumoscope explain image.jpeg --study out --method gradcam")
def explain(
    images: ImagesArgument = None,
    study_dir: StudyOption = Path("out"),
    out: OutOption = Path("heatmaps"),
    configuration: ConfigurationOption = "improved",
    method: Annotated[str, typer.Option(help="Explanation method, such as gradcam, hirescam or rise.")] = "hirescam",
    layer: Annotated[str | None, typer.Option(help="Layer to explain; all convolutional layers by default.")] = None,
    contrast: Annotated[
        bool, typer.Option("--contrast", help="Compare with the nearest image of the other class instead.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Draw heatmaps of the study's binary classifier."""
    from pneumoscope.io.study_folder import load_stage
    from pneumoscope.study.rerun import Rerun, rerun_contrast, rerun_explain

    if contrast and layer:
        raise PneumoscopeError("--contrast compares whole images; expected no --layer")
    rerun = Rerun(study_dir, configuration)
    if contrast:
        print_rows(rerun_contrast(rerun, images or []), as_json=as_json)
    elif images:
        files, rows = rerun_explain(rerun, images, method=method, layer=layer)
        rows += [_draw_heatmaps(file, out, number, method) for number, file in enumerate(files, start=1)]
        print_rows(rows, as_json=as_json)
    else:
        print_metrics(load_stage(study_dir, configuration, "explain").metrics, "test", as_json=as_json)


def _draw_heatmaps(file: "ExplainedFile", out: Path, number: int, method: str) -> dict[str, Any]:
    """Write the heatmaps of a file as a figure, and return its row."""
    from pneumoscope.data.source import printable_name
    from pneumoscope.report.figures.explain import draw_heatmaps
    from pneumoscope.report.figures.palette import save_figure

    title, stem = f"{file.path.name}: {file.decision}", out / f"{number:03d}-{file.path.stem}"
    alt = f"{method}, {', '.join(file.titles)}, over {file.path.name}, classified as {file.decision}."
    save_figure(draw_heatmaps(file.image / 255, file.heatmaps, file.titles, title=title, alt=alt), stem)
    return {
        "image": printable_name(file.path),
        "decision": file.decision,
        "p_pneumonia": round(file.p_pneumonia, 4),
        "heatmaps": f"{stem}.png",
    }
