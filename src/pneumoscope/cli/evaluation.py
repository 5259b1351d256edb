"""`evaluate` any model on labeled radiographs, `adapt` a reader to them, `neighbors`: k-NN on an embedding."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.cli.options import (
    DataArgument,
    IgnorePopulationOption,
    JsonOption,
    ModelOption,
    OperatingPointOption,
    OutOption,
    PreprocessOption,
    ReaderOption,
    SeedOption,
    SettingsOption,
    with_labels,
)
from pneumoscope.cli.output import print_metrics, print_table
from pneumoscope.errors import PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.data.label_options import LabelOptions
    from pneumoscope.io.results import CollectionEvaluation

COMMANDS = typer.Typer()
Split = Literal["test", "train", "val", "all"]


@COMMANDS.command(epilog="Example: pneumoscope evaluate folder/ --model run --out evaluation")
@with_labels
def evaluate(
    data: DataArgument,
    labels: "LabelOptions",
    model: ModelOption = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Predictions of any tool instead: path and one column per class."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", file_okay=False, help="Output folder for evaluation.html, evaluation.json and figures."),
    ] = None,
    split: Annotated[Split | None, typer.Option(help="Split; by default test if it exists, else all.")] = None,
    operating_point: OperatingPointOption = "balanced",
    ignore_population: IgnorePopulationOption = False,
    preprocess: PreprocessOption = None,
    correct_label_shift: Annotated[
        bool, typer.Option("--correct-label-shift", help="Correct probabilities for estimated class frequencies.")
    ] = False,
    confounders: Annotated[
        bool | None,
        typer.Option(
            help="Measure confounders and the OOD detector on modified images.",
            show_default="on with ten or more images per class",
        ),
    ] = None,
    as_json: JsonOption = False,
    settings: SettingsOption = None,
) -> None:
    """Evaluate a model on labeled radiographs and write a report."""
    from pneumoscope.classifier import open_model
    from pneumoscope.evaluation.evaluate import evaluate_models
    from pneumoscope.evaluation.predictions import evaluate_predictions

    if predictions is None:
        predictor = open_model(
            model, label_set=labels.label_set, preprocess=preprocess, ignore_population=ignore_population
        )
        evaluation = evaluate_models(
            predictor,
            data,
            options=labels,
            split=split,
            operating_point=operating_point,
            correct_label_shift=correct_label_shift,
            confounders=confounders,
        )
    elif model or preprocess or correct_label_shift or confounders:
        raise PneumoscopeError(
            "--predictions evaluates a table; expected no --model, --preprocess, --correct-label-shift or --confounders"
        )
    else:
        evaluation = evaluate_predictions(data, predictions, options=labels, split=split)
    _report(evaluation, out, as_json=as_json)


def _report(evaluation: "CollectionEvaluation", out: Path | None, *, as_json: bool) -> None:
    from pneumoscope.report import evaluation_sentences as sentences
    from pneumoscope.report.evaluation_page import summarize_evaluation, write_evaluation

    command = shlex.join(["pneumoscope", *sys.argv[1:]])
    page = write_evaluation(evaluation, out, command=command) if out else None
    if as_json:
        typer.echo(json.dumps(summarize_evaluation(evaluation, command=command)))
        return
    print_metrics(evaluation.main_metrics(), evaluation.split)
    texts = [sentences.write_headline(evaluation), *sentences.write_verdict(evaluation)]
    for text in (*texts, *sentences.write_rejections(evaluation), *([page] if page else [])):
        typer.echo(text)


@COMMANDS.command(epilog="Example: pneumoscope adapt local/ --out reader-local --last-layer")
@with_labels
def adapt(
    data: DataArgument,
    labels: "LabelOptions",
    out: OutOption,
    model: ReaderOption = None,
    last_layer: Annotated[
        bool, typer.Option("--last-layer", help="Also fit the last layer; heatmaps follow. Needs the extra `train`.")
    ] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit calibration and thresholds of a reader on 20 to 200 labeled images of another hospital."""
    from pneumoscope.adaptation.adapt import adapt as adapt_reader
    from pneumoscope.io.json_file import to_plain

    adapted = adapt_reader(data, out, model=model, options=labels, last_layer=last_layer, seed=seed)
    if as_json:
        typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, **to_plain(adapted)}))
        return
    columns = list(adapted.metrics)
    rows = [[name, *(str(adapted.metrics[side][name]) for side in columns)] for name in adapted.metrics["before"]]
    title = f"Cross-validation on {adapted.images} images of {adapted.patients} patients (95 % CI)"
    print_table(title, ["metric", *columns], rows)
    counts = ", ".join(f"{name} {count}" for name, count in adapted.classes.items())
    typer.echo(f"Fitted on {counts}: {', '.join(adapted.refitted)}. {adapted.verdict}")
    typer.echo(out)


@COMMANDS.command(epilog="Example: pneumoscope neighbors folder/ --model run")
@with_labels
def neighbors(
    data: DataArgument,
    labels: "LabelOptions",
    model: Annotated[Path, typer.Option(metavar="MODEL", help="A training run, a study or a .keras file.")],
    preprocess: PreprocessOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify the test images by their nearest training images in the embedding of a model."""
    from pneumoscope.classifier import Classifier
    from pneumoscope.cli.training import load_split
    from pneumoscope.neighbors.knn import find_neighbors

    classifier = Classifier.open(model, label_set=labels.label_set, preprocess=preprocess)
    seed = classifier.saved.card.seed  # the split of the training
    dataset = load_split(data, None, labels, classifier.size, seed)
    result = find_neighbors(
        classifier.embed_images(dataset.images),
        dataset,
        label_set=classifier.label_set,
        probabilities=classifier.predict_images(dataset.test.images),
        seed=seed,
    )
    print_metrics(result.evaluations["test"].metrics | {"agreement": result.agreement}, "test", as_json=as_json)
