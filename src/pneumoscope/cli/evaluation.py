"""What models are worth: those that ship or were exported, on any collection; or a classifier of a study."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumoscope.cli.options import ClassifierTask, ConfigurationName, JsonOption
from pneumoscope.cli.output import import_keras, print_metrics
from pneumoscope.cli.reading import ModelsOption
from pneumoscope.errors import PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.io.results import CollectionEvaluation

COMMANDS = typer.Typer()
DEFAULT_POINT = "balanced"
STUDY_PANEL = "A classifier of a study"


class SplitChoice(StrEnum):
    """Which part of a collection."""

    TEST = "test"
    TRAIN = "train"
    VAL = "val"
    ALL = "all"


LabelledOption = Annotated[Path | None, typer.Option("--data", help="Folder or CSV manifest of labelled radiographs.")]
PageOption = Annotated[
    Path | None, typer.Option("--out", help="Folder for evaluation.html, evaluation.json and figures.")
]
SplitOption = Annotated[
    SplitChoice | None, typer.Option("--split", help="Part of the data; test where there is one, else all.")
]
PointOption = Annotated[str, typer.Option(help="screening, balanced, specific, or a threshold between 0 and 1.")]
CorrectOption = Annotated[
    bool, typer.Option("--correct-label-shift", help="Correct probabilities by the class shares estimated.")
]
ShortcutsOption = Annotated[
    bool | None,
    typer.Option(
        "--shortcuts/--no-shortcuts",
        help="Hide the lungs, the frame, letters, and make wrong inputs, to see what the models answer.",
        show_default="on where there are ten images of each class",
    ),
]
KerasStudyOption = Annotated[
    Path | None,
    typer.Option("--study", help="Folder of a study: evaluate its Keras classifier.", rich_help_panel=STUDY_PANEL),
]
StudyConfigurationOption = Annotated[
    ConfigurationName, typer.Option("--configuration", help="Recipe of the model.", rich_help_panel=STUDY_PANEL)
]
NetOption = Annotated[ClassifierTask, typer.Option("--task", help="Which classifier.", rich_help_panel=STUDY_PANEL)]


@COMMANDS.command()
def evaluate(
    data: LabelledOption = None,
    models: ModelsOption = None,
    out: PageOption = None,
    split: SplitOption = None,
    operating_point: PointOption = DEFAULT_POINT,
    correct_label_shift: CorrectOption = False,
    shortcuts: ShortcutsOption = None,
    as_json: JsonOption = False,
    study_dir: KerasStudyOption = None,
    configuration: StudyConfigurationOption = ConfigurationName.IMPROVED,
    task: NetOption = ClassifierTask.BINARY,
) -> None:
    """Tell what models are worth on a collection: the models that ship, or exported ones, without Keras.

    With --study, one classifier of a study is evaluated instead, on its test images or on all images of --data.
    """
    if study_dir is not None:
        _refuse_with_study(models, out, split, correct_label_shift, shortcuts, operating_point != DEFAULT_POINT)
        _evaluate_study(study_dir, data, configuration.value, task.value, as_json=as_json)
        return
    if data is None:
        raise PneumoscopeError(
            "there is nothing to evaluate on; expected --data FOLDER or --data MANIFEST.csv, or --study"
        )
    from pneumoscope.evaluation.evaluate import evaluate_models
    from pneumoscope.inference.reader import Reader

    evaluation = evaluate_models(
        Reader.open(models, num_threads=1),
        data,
        split=split.value if split else None,
        operating_point=operating_point,
        correct_label_shift=correct_label_shift,
        confounders=shortcuts,
    )
    _tell(evaluation, out, as_json=as_json)


def _refuse_with_study(*asked: object) -> None:
    if any(asked):
        raise PneumoscopeError(
            "--study evaluates a study's own classifier; expected no --models, --out, --split, --operating-point, "
            "--correct-label-shift or --shortcuts with it. Export the study to have those."
        )


def _tell(evaluation: "CollectionEvaluation", out: Path | None, *, as_json: bool) -> None:
    from pneumoscope.report.evaluation_page import summarize_evaluation, write_evaluation
    from pneumoscope.report.evaluation_sentences import (
        write_error_stretches,
        write_gate,
        write_headline,
        write_verdict,
    )

    command = shlex.join(["pneumoscope", *sys.argv[1:]])
    page = write_evaluation(evaluation, out, command=command) if out else None
    if as_json:
        typer.echo(json.dumps(summarize_evaluation(evaluation, command=command)))
        return
    print_metrics(evaluation.main_metrics(), evaluation.split)
    together = [write_error_stretches(evaluation)] if evaluation.error_runs else []
    for text in (write_headline(evaluation), *write_verdict(evaluation), *together, *write_gate(evaluation)):
        typer.echo(text)
    if page:
        typer.echo(page)


def _evaluate_study(study_dir: Path, data: Path | None, configuration: str, task: str, *, as_json: bool) -> None:
    import_keras()
    from pneumoscope.classification.classifier import evaluate_classifier
    from pneumoscope.data.dataset import load_dataset
    from pneumoscope.io.study_folder import stage_name
    from pneumoscope.models.saved_model import load_model
    from pneumoscope.study.pipeline import CLASSES, reopen_study

    model = load_model(study_dir / "models" / stage_name(configuration, task)).model
    if data is None:
        dataset, split = reopen_study(study_dir)[1], "test"
    else:
        dataset, split = load_dataset(data, size=model.input_shape[1]).as_split("external"), "external"
    evaluation = evaluate_classifier(model, dataset, classes=CLASSES[task], split=split)
    print_metrics(evaluation.metrics, split, as_json=as_json)
