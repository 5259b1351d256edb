"""`app`, `explain` and `export`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pneumoscope.cli.options import (
    ConfigurationOption,
    IgnorePopulationOption,
    JsonOption,
    KerasModelOption,
    OutOption,
    PreprocessOption,
    ReaderOption,
    with_classes,
    with_labels,
)
from pneumoscope.cli.output import INTERRUPTED, print_rows
from pneumoscope.errors import PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.classifier import Classifier
    from pneumoscope.data.label_options import LabelOptions

COMMANDS = typer.Typer()
MAX_SHOWN = 4


@COMMANDS.command(epilog="Example: pneumoscope app --model out")
def app(
    model: ReaderOption = None,
    references: Annotated[
        Path | None, typer.Option(help="Folder of the training images; the app shows the nearest ones.")
    ] = None,
    spool: Annotated[Path | None, typer.Option(help="Folder of the queue of `listen`, to show its state.")] = None,
    ignore_population: IgnorePopulationOption = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Local port; the next free port if occupied.")] = 8427,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open a browser.")] = False,
) -> None:
    """Start the web app on 127.0.0.1; only this computer can reach it. With a study, it also shows the report.

    There is no option to listen on other addresses: the app has no accounts.
    """
    from pneumoscope.app.server import serve
    from pneumoscope.io.study_folder import LEDGER_NAME

    study = model if model and (model / LEDGER_NAME).exists() else None
    has_ended = serve(
        model,
        study_dir=study,
        references_dir=references,
        spool_dir=spool,
        ignore_population=ignore_population,
        port=port,
        open_browser=not no_browser,
    )
    if not has_ended:
        os._exit(INTERRUPTED)


@COMMANDS.command(epilog="Example: pneumoscope explain image.jpeg --model run --method gradcam --out heatmaps")
@with_classes
def explain(
    paths: Annotated[list[str], typer.Argument(metavar="FILES", help="Files, folders or globs.")],
    labels: "LabelOptions",
    model: KerasModelOption = None,
    out: OutOption = Path("heatmaps"),
    method: Annotated[str, typer.Option(help="Explanation method, such as gradcam, hirescam or rise.")] = "hirescam",
    layer: Annotated[str | None, typer.Option(help="Layer to explain; the last convolutional one by default.")] = None,
    label: Annotated[str | None, typer.Option(help="Class to explain; the most probable one by default.")] = None,
    preprocess: PreprocessOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw heatmaps of a model, with the method and layer of your choice."""
    from pneumoscope.classifier import Classifier
    from pneumoscope.inference.batch import find_files

    if model is None:
        raise PneumoscopeError(
            "the included models have no Keras form; expected --model RUN, STUDY or FILE.keras. "
            "`pneumoscope read --heatmaps` draws their class activation maps"
        )
    classifier = Classifier.open(model, label_set=labels.label_set, preprocess=preprocess)
    rows = [
        _draw_heatmaps(
            classifier, path, out / f"{number:03d}-{Path(path).stem}", method=method, layer=layer, label=label
        )
        for number, path in enumerate(find_files(paths), start=1)
    ]
    print_rows(rows, as_json=as_json)


def _draw_heatmaps(classifier: "Classifier", path: str, stem: Path, **options: str | None) -> dict[str, Any]:
    """Write the heatmaps of a file as a figure, and return its row."""
    from pneumoscope.data.source import printable_name
    from pneumoscope.errors import ImageError
    from pneumoscope.report.figures.palette import save_figure

    try:
        heatmap = classifier.explain(path, **options)  # type: ignore[arg-type]
    except ImageError as error:
        return {"image": printable_name(path), "error": str(error)}
    save_figure(heatmap.plot(), stem)
    probabilities = {f"p_{name}": round(value, 4) for name, value in heatmap.probabilities.items()}
    return {"image": printable_name(path), "label": heatmap.label, **probabilities, "heatmaps": f"{stem}.png"}


@COMMANDS.command(epilog="Example: pneumoscope export run --out reader")
@with_labels
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A training run, a study or a .keras file.")],
    labels: "LabelOptions",
    out: OutOption = Path("reader"),
    data: Annotated[
        Path | None,
        typer.Option(
            help="Training data of a run or .keras file: adds calibration, operating points, reference cases and the "
            "OOD detector."
        ),
    ] = None,
    preprocess: PreprocessOption = None,
    configuration: ConfigurationOption = "improved",
    data_license: Annotated[str, typer.Option(help="License of the training images, for the card.")] = "not stated",
    explain_results: Annotated[
        Path | None, typer.Option(help="explain.json of `research explain`; adds heatmap metrics to the card.")
    ] = None,
) -> None:
    """Export a trained model to ONNX, for `read`, `app` and `evaluate`."""
    from pneumoscope.classifier import Classifier, load_training_data
    from pneumoscope.export.study import export_study
    from pneumoscope.io.study_folder import LEDGER_NAME
    from pneumoscope.report.model_card import write_model_cards
    from pneumoscope.study.pipeline import reopen_study

    if (model / LEDGER_NAME).exists():
        dataset = reopen_study(model, configuration)[1]
        export_study(
            model, dataset, out, configuration=configuration, data_license=data_license, explain_results=explain_results
        )
        write_model_cards(out)
    else:
        classifier = Classifier.open(model, label_set=labels.label_set, preprocess=preprocess)
        classifier.export(out, dataset=load_training_data(classifier, data, labels), data_license=data_license)
    typer.echo(out)
