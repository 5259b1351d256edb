"""The model card of an exported model as `README.md`."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pneumoscope.inference.cards import (
    Adaptation,
    AnomalyCard,
    CardHead,
    ClassifierCard,
    DataSummary,
    ExportedModel,
    ReferenceCard,
    load_card,
)
from pneumoscope.inference.model_set import load_cards
from pneumoscope.io.results import Estimate
from pneumoscope.io.results.calibration import SeedComparison, SplitMetrics
from pneumoscope.io.write import write_text
from pneumoscope.labels import LabelSet
from pneumoscope.models.card import CARD_NAME
from pneumoscope.models.settings import TrainingSettings
from pneumoscope.report.templates import make_environment
from pneumoscope.report.wording import format_estimate, format_value, metric_title

LEAST_DROP = 0.05

_SPLITS = {"val": "validation", "held_out": "held-out series", "test": "test"}
_POSITIVE = {"auroc": "AUROC", "auprc": "AUPRC"}
# Metrics of all classes on the card: these, and those of single classes that begin with them.
_CLASSES = (
    *("accuracy", "subset_accuracy", "balanced_accuracy", "auroc", "recall"),
    *("sensitivity", "specificity", "precision"),
)
# Metrics of the heatmaps on the card; `card.json` contains all.
_EXPLANATION = (
    *("peak_in_lesion", "lesion_area", "heat_in_lungs", "lungs_area"),
    *("survives_last", "survives_all", "other_seed"),
)
# DOI of the collection of the shipped models; its description is part of the template.
_KERMANY = "10.17632/rscbjbr9sj"


def write_model_cards(export_dir: str | os.PathLike[str]) -> None:
    """Write a `README.md` next to each `card.json` of an export.

    Args:
        export_dir: folder of `export_model` or `export_study`.

    Raises:
        ModelError: if the folder contains no export.
    """
    export_dir = Path(export_dir)
    if (export_dir / CARD_NAME).exists():
        write_model_card(load_card(ExportedModel, export_dir), export_dir / "README.md")
    else:
        for part, card in vars(load_cards(export_dir)).items():
            if card is not None:
                write_model_card(card, export_dir / part / "README.md")


def write_model_card(card: CardHead, path: Path) -> None:
    """Write the card of one exported model as Markdown."""
    content: dict[str, Any] = {
        "model": card if isinstance(card, ExportedModel) else None,
        "data": card.data if isinstance(card, ClassifierCard | AnomalyCard | ReferenceCard) else None,
        "training": _describe_training(card) if isinstance(card, ExportedModel) else [],
        "test": _list_metrics(card.metrics["test"]) if isinstance(card, AnomalyCard) else [],
        **dict.fromkeys(("classifier", "drop", "adapted")),
        "sums": {},
    }
    if isinstance(card, ClassifierCard):
        content |= _describe_classifier(card)
    template = make_environment(autoescape=False).get_template("model_card.md.j2")
    write_text(path, template.render(card=card, of_kermany=is_kermany(content["data"]), **content))


def is_kermany(data: DataSummary | None) -> bool:
    """Return whether the training data are the collection of the included models."""
    return data is not None and _KERMANY in data.license


def _describe_classifier(card: ClassifierCard) -> dict[str, Any]:
    labels, explained = card.label_set, card.explanation
    return {
        "classifier": card,
        "population": vars(card.population).items(),
        "sums": {name: labels.members(name) for name in labels.scored if name not in labels.classes},
        "points": [
            (
                *((name, label) if labels.multi_label else (name,)),
                f"{point.threshold:.3f}",
                format_estimate("sensitivity", point.sensitivity),
                format_estimate("specificity", point.one_minus_specificity.complement()),
            )
            for name, by_label in card.operating_points.items()
            for label, point in by_label.items()
        ],
        "splits": _title_splits(card.metrics),
        "rows": _tabulate_metrics(card.metrics, labels),
        "explanation": _list_metrics(explained.metrics, _EXPLANATION) if explained else [],
        "seeds": _list_seeds(card.seeds, labels) if card.seeds else [],
        "drop": _format_drop(card.metrics),
        "adapted": card.adapted,
        "adapted_rows": _tabulate_adaptation(card.adapted) if card.adapted else [],
    }


def _tabulate_adaptation(adapted: Adaptation) -> list[list[str]]:
    """Return a row for each metric: its title, and its value before, after and the difference."""
    sides = [adapted.metrics[side] for side in ("before", "after", "difference")]
    return [[metric_title(name), *(str(side[name]) for side in sides)] for name in sides[0]]


def _describe_training(card: ExportedModel) -> list[str]:
    settings = card.settings
    if settings is None:
        return ["not trained: a frozen network with ImageNet weights; the normals of train are its reference"]
    optimizer = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}[settings.optimizer]
    if settings.weight_decay and settings.optimizer != "adam":
        optimizer += f", weight decay {settings.weight_decay:g}"
    warmup = f"; linear warm-up over {settings.warmup:.0%} of the steps, then cosine decay" if settings.cosine else ""
    return [
        f"{settings.epochs} epochs in batches of {settings.batch_size}, configuration `{settings.configuration}`",
        f"{optimizer}, learning rate {settings.learning_rate:g}{warmup}",
        *_list_options(settings, card),
    ]


def _list_options(settings: TrainingSettings, card: ExportedModel) -> list[str]:
    # Anomaly detectors have no dropout layer.
    dropout = settings.dropout if card.kind == "classifier" else 0
    augmentation = [name.replace("_", " ") for name, value in vars(settings.augmentation).items() if value]
    options = (
        (settings.weights, f"pretrained weights: {settings.weights}"),
        (card.init_from, f"started from the weights of {card.init_from}"),
        (settings.balanced, "class-balanced sampling"),
        (settings.class_weights == "balanced", "classes weighted equally in the loss"),
        (settings.label_smoothing, f"label smoothing {settings.label_smoothing:g}"),
        (settings.frozen_until, f"layers up to {settings.frozen_until} keep their pretrained weights"),
        (dropout, f"dropout {dropout:g}"),
        (settings.averaging, f"exponential moving average of the weights over epochs, decay {settings.averaging:g}"),
        (settings.keep_best, f"selected epoch: {card.chosen_epoch}, with the lowest validation loss"),
        (augmentation, f"augmentation: {', '.join(augmentation)}"),
    )
    return [text for used, text in options if used]


def _tabulate_metrics(metrics: Mapping[str, SplitMetrics], labels: LabelSet) -> list[tuple[str, list[str]]]:
    """Return rows with a title and a cell for each measured split."""
    parts = [metrics[split] for split in _SPLITS if split in metrics]
    positive, classes, titles = [part.positive for part in parts], [part.classes for part in parts], _title(labels)
    known = positive[0] if parts else {}
    rows = [(f"{titles['positive']}: {_POSITIVE[name]}", _row(name, positive)) for name in _POSITIVE if name in known]
    for name in (key.removeprefix("accuracy_") for key in known if key.startswith("accuracy_")):
        specificities = [part[f"false_positive_rate_{name}"].complement() for part in positive]
        rows += [
            (f"at `{name}`: sensitivity", _row(f"sensitivity_{name}", positive)),
            (f"at `{name}`: specificity", [format_estimate("specificity", value) for value in specificities]),
            (f"at `{name}`: accuracy", _row(f"accuracy_{name}", positive)),
        ]
    names = dict.fromkeys(
        name
        for start in _CLASSES
        for part in classes[:1]
        for name in sorted(part, key=lambda name: name != start)  # the mean before single classes
        if f"{name}_".startswith(f"{start}_")
    )
    return rows + [(f"{titles['classes']}: {metric_title(name)}", _row(name, classes)) for name in names]


def _title(labels: LabelSet) -> dict[str, str]:
    """Return the titles of the two groups of metrics."""
    return {
        "positive": f"{labels.negative} or {labels.positive}",
        "classes": f"{len(labels.classes)} {'findings' if labels.multi_label else 'classes'}",
    }


def _title_splits(metrics: Mapping[str, SplitMetrics]) -> list[str]:
    counts = {split: [one.n for one in metrics[split].classes.values()] for split in _SPLITS if split in metrics}
    return [f"{_SPLITS[split]}, n = {max(of_split, default=0):,}" for split, of_split in counts.items()]


def _row(name: str, parts: list[dict[str, Estimate]]) -> list[str]:
    return [format_estimate(name, part[name]) if name in part else "-" for part in parts]


def _list_metrics(metrics: Mapping[str, Estimate], names: Iterable[str] | None = None) -> list[tuple[str, str]]:
    chosen = metrics if names is None else [name for name in names if name in metrics]
    return [(metric_title(name), format_estimate(name, metrics[name])) for name in chosen]


def _list_seeds(seeds: SeedComparison, labels: LabelSet) -> list[str]:
    """Return mean and standard deviation of each metric over models with different seeds."""
    sentences, titles = [], _title(labels)
    for key, spread in seeds.test.items():
        task, _, name = key.partition("/")
        values = f"{format_value(name, spread.mean)}, sd {format_value(name, spread.sd)}"
        sentences.append(f"{titles.get(task, task)}: {metric_title(name.removesuffix('_balanced'))} {values}")
    return sentences


def _format_drop(metrics: Mapping[str, SplitMetrics]) -> tuple[str, str] | None:
    """Return the specificity at `balanced` on validation and test if it is lower on test, else None."""
    parts = [metrics[split].positive for split in ("val", "test") if split in metrics]
    pair = [
        part["false_positive_rate_balanced"].complement() for part in parts if "false_positive_rate_balanced" in part
    ]
    if len(pair) < 2 or not pair[1].value < pair[0].value - LEAST_DROP:
        return None
    return format_value("specificity", pair[0].value), format_estimate("specificity", pair[1])
