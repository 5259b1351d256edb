"""A model's card for people: what it is for, what it was trained on, how well it does, and where it fails."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumoscope.reading.model_set import CARD_NAME
from pneumoscope.report.comparison import read_estimate
from pneumoscope.report.templates import make_environment
from pneumoscope.report.wording import metric_title, word_estimate, word_value
from pneumoscope.results import Estimate

LEAST_DROP = 0.05

_SPLITS = {"val": "validation", "held_out": "series held out", "test": "test"}
_TWO_CLASSES = {"auroc": "AUROC", "auprc": "AUPRC"}
_THREE_CLASSES = (
    *("accuracy", "balanced_accuracy", "auroc", "auroc_bacterial_vs_viral"),
    *("recall_normal", "recall_bacterial", "recall_viral"),
    *("precision_normal", "precision_bacterial", "precision_viral"),
)
_SUBTYPE_TITLES = {
    "nets_outside": "nets that had not seen the patient, elsewhere",
    "nets_inside": "nets that had not seen the patient, in these stretches",
    "borders_outside": "the outer tenth of the film alone, elsewhere",
    "borders_inside": "the outer tenth of the film alone, in these stretches",
}
# Of the shipped models' collection more is known than a study can tell of any other.
_KERMANY = "10.17632/rscbjbr9sj"


def write_model_cards(folder: Path) -> None:
    """Write `README.md` beside each `card.json` of an export: one model's, or those of a whole study."""
    for path in (folder / CARD_NAME, *sorted(folder.glob(f"*/{CARD_NAME}"))):
        if path.exists():
            write_model_card(json.loads(path.read_text(encoding="utf-8")), path.with_name("README.md"))


def write_model_card(card: dict[str, Any], path: Path) -> None:
    """Write the card of an exported model as Markdown; what the card does not hold is left out.

    Args:
        card: the content of its `card.json`.
        path: of the file.
    """
    figures = card.get("figures", {})
    template = make_environment(autoescape=False).get_template("model_card.md.j2")
    text = template.render(
        card=card,
        recipe=_describe_recipe(card),
        points=[(name, _word_point(point)) for name, point in card.get("operating_points", {}).items()],
        splits=_title_splits(figures) if card["kind"] == "classifier" else [],
        rows=_tabulate_figures(figures) if card["kind"] == "classifier" else [],
        test=_list_figures(figures.get("test", {})) if card["kind"] == "anomaly" else [],
        explained=_list_figures(card.get("explanation", {}).get("figures", {})),
        subtypes=[
            (_SUBTYPE_TITLES[name], word_estimate("auroc", read_estimate(found)))
            for name, found in card.get("subtypes", {}).get("figures", {}).items()
        ],
        seeds=_word_seeds(card.get("seeds", {})),
        dropped=_word_drop(figures),
        of_kermany=_KERMANY in card.get("data", {}).get("license", ""),
    )
    path.write_text(text, encoding="utf-8")


def _describe_recipe(card: Mapping[str, Any]) -> list[str]:
    settings = card.get("settings", {})
    if not settings:
        return []
    used = {name: value for name, value in settings.items() if value}
    if card["kind"] == "anomaly":
        used.pop("dropout", None)  # a setting of the classifiers, which models of normals have no layer for
    optimizer = f"AdamW, weight decay {used['weight_decay']:g}" if "weight_decay" in used else "Adam"
    course = f"; rising for {used.get('warmup', 0):.0%} of the steps, then falling along a cosine"
    varied = [name.replace("_", " ") for name, value in settings["augmentation"].items() if value and "num" not in name]
    said = [
        f"{used['epochs']} epochs in batches of {used['batch_size']}, profile `{used['profile']}`",
        f"{optimizer}, learning rate {used['learning_rate']:g}{course if 'cosine' in used else ''}",
    ]
    told = {
        "backbone": "starts from the net {} that others trained",
        "balanced": "classes drawn alike often",
        "label_smoothing": "label smoothing {:g}",
        "mixup": "mixup {:g}",
        "dropout": "dropout {:g}",
        "averaging": "weights averaged over epochs, {:g} of the past",
        "keep_best": f"the epoch with the lowest validation loss is kept, here {card.get('chosen_epoch')}",
    }
    said += [words.format(used[name]) for name, words in told.items() if name in used]
    return [*said, f"images changed at random: {', '.join(varied)}"] if varied else said


def _word_point(point: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return threshold, sensitivity and specificity, on the images that the point was chosen on."""
    found = {name: read_estimate(point[name]) for name in ("sensitivity", "one_minus_specificity")}
    return (
        f"{point['threshold']:.3f}",
        word_estimate("sensitivity", found["sensitivity"]),
        word_estimate("specificity", _complement(found["one_minus_specificity"])),
    )


def _tabulate_figures(figures: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return rows of a title and a cell for each split that was measured."""
    parts = [figures[split] for split in _SPLITS if split in figures]
    if not parts:
        return []
    two, three = ([part[task] for part in parts] for task in ("normal_or_pneumonia", "three_class"))
    rows = [(f"normal or pneumonia: {title}", _row(name, two)) for name, title in _TWO_CLASSES.items()]
    for name in (key.removeprefix("accuracy_") for key in two[0] if key.startswith("accuracy_")):
        cleared = [_complement(read_estimate(part[f"flagged_normal_{name}"])) for part in two]
        rows += [
            (f"at `{name}`: sensitivity", _row(f"flagged_pneumonia_{name}", two)),
            (f"at `{name}`: specificity", [word_estimate("specificity", found) for found in cleared]),
            (f"at `{name}`: accuracy", _row(f"accuracy_{name}", two)),
        ]
    kept = [name for name in _THREE_CLASSES if name in three[0]]
    return rows + [(f"three classes: {metric_title(name)}", _row(name, three)) for name in kept]


def _title_splits(figures: Mapping[str, Any]) -> list[str]:
    counts = {split: figures[split]["three_class"]["accuracy"]["n"] for split in _SPLITS if split in figures}
    return [f"{_SPLITS[split]}, n = {count:,}" for split, count in counts.items()]


def _row(name: str, parts: list[Mapping[str, Any]]) -> list[str]:
    return [word_estimate(name, read_estimate(part[name])) if name in part else "-" for part in parts]


def _list_figures(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(metric_title(name), word_estimate(name, read_estimate(found))) for name, found in figures.items()]


def _word_seeds(seeds: Mapping[str, Any]) -> list[str]:
    """Return how far nets of the recipe that differ in their seed alone lie apart on test."""
    said = []
    for key, found in seeds.get("test", {}).items():
        task, _, name = key.partition("/")
        title = metric_title(name.removesuffix("_balanced"))
        mean, spread = (word_value(name, found[field]) for field in ("mean", "sd"))
        said.append(f"{task.replace('_', ' ')}: {title} {mean}, sd {spread}")
    return said


def _word_drop(figures: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the specificity at the balanced point on validation and on test, where it falls."""
    name = "flagged_normal_balanced"
    found = [figures.get(split, {}).get("normal_or_pneumonia", {}).get(name) for split in ("val", "test")]
    if None in found:
        return None
    val, test = (_complement(read_estimate(part)) for part in found)
    if not test.value < val.value - LEAST_DROP:
        return None
    return word_value("specificity", val.value), word_estimate("specificity", test)


def _complement(share: Estimate) -> Estimate:
    return Estimate(1 - share.value, 1 - share.high, 1 - share.low, share.n)
