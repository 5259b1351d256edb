"""`evaluate`: exported models on any data set, or a study's classifier."""

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pneumoscope.cli.options import ClassifierTask, Configuration, JsonOption, ModelsOption, OperatingPointOption
from pneumoscope.cli.output import print_metrics
from pneumoscope.errors import PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.io.results import CollectionEvaluation

COMMANDS = typer.Typer()
DEFAULT_POINT = "balanced"

ConfoundersOption = Annotated[
    bool | None,
    typer.Option(
        help="Measure confounders and the OOD detector on modified images.",
        show_default="on with ten or more images per class",
    ),
]
_study_option = partial(typer.Option, rich_help_panel="A study's classifier")


@COMMANDS.command(epilog="Example: pneumoscope evaluate --data chest_xray --out evaluation")
def evaluate(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder or table (CSV, TSV, Parquet) of labeled radiographs.")
    ] = None,
    models: ModelsOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", file_okay=False, help="Output folder for evaluation.html, evaluation.json and figures."),
    ] = None,
    split: Annotated[
        Literal["test", "train", "val", "all"] | None,
        typer.Option("--split", help="Split to evaluate; by default test if it exists, else all."),
    ] = None,
    operating_point: OperatingPointOption = DEFAULT_POINT,
    correct_label_shift: Annotated[
        bool, typer.Option("--correct-label-shift", help="Correct probabilities for estimated class frequencies.")
    ] = False,
    confounders: ConfoundersOption = None,
    as_json: JsonOption = False,
    study_dir: Annotated[Path | None, _study_option("--study", help="Folder of the study.")] = None,
    configuration: Annotated[Configuration, _study_option(help="Configuration of the model.")] = "improved",
    task: Annotated[ClassifierTask, _study_option(help="Task of the classifier.")] = "binary",
) -> None:
    """Evaluate models on labeled radiographs and write a report."""
    if study_dir is not None:
        if models or out or split or correct_label_shift or confounders or operating_point != DEFAULT_POINT:
            raise PneumoscopeError(
                "--study evaluates a study's Keras classifier; expected no --models, --out, --split, "
                "--operating-point, --correct-label-shift or --confounders. Export the study to use these options."
            )
        _evaluate_study(study_dir, data, configuration, task, as_json=as_json)
        return
    if data is None:
        raise PneumoscopeError("no data set is given; expected --data FOLDER, --data MANIFEST.csv or --study FOLDER")
    from pneumoscope.evaluation.evaluate import evaluate_models
    from pneumoscope.inference.reader import Reader

    evaluation = evaluate_models(
        Reader.open(models, num_threads=1),
        data,
        split=split,
        operating_point=operating_point,
        correct_label_shift=correct_label_shift,
        confounders=confounders,
    )
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
    runs = [sentences.write_error_runs(evaluation)] if evaluation.error_runs else []
    texts = [sentences.write_headline(evaluation), *sentences.write_verdict(evaluation), *runs]
    for text in (*texts, *sentences.write_rejections(evaluation), *([page] if page else [])):
        typer.echo(text)


def _evaluate_study(study_dir: Path, data: Path | None, configuration: str, task: str, *, as_json: bool) -> None:
    from pneumoscope.classification.classifier import evaluate_classifier
    from pneumoscope.data.dataset import load_dataset
    from pneumoscope.io.study_folder import model_dir
    from pneumoscope.labels import TASK_CLASSES
    from pneumoscope.models.saved_model import load_model
    from pneumoscope.study.pipeline import reopen_study

    model = load_model(model_dir(study_dir, configuration, task)).model
    if data is None:
        dataset, split = reopen_study(study_dir)[1], "test"
    else:
        dataset, split = load_dataset(data, size=model.input_shape[1]).as_split("external"), "external"
    evaluation = evaluate_classifier(model, dataset, classes=TASK_CLASSES[task], split=split)
    print_metrics(evaluation.metrics, split, as_json=as_json)
