"""Tables of the pages: metrics with intervals, counts, settings and times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pneumoscope.io.results import Estimate
from pneumoscope.io.study_folder import CLASSIFICATIONS, order_configurations
from pneumoscope.labels import NO_FINDING, LabelSet
from pneumoscope.report.comparison import ComparedMetric, read_estimate, reference_estimate
from pneumoscope.report.published import Publication
from pneumoscope.report.wording import field_title, format_interval, format_seconds, format_value, metric_title

FIRST_METRICS = ("accuracy", "subset_accuracy", "balanced_accuracy", "auroc", "auprc", "macro_f1", "agreement")
# Of the rules of the reference protocol in task 3.
RULES = ("one_sided", "two_sided")
# Of the fields of a second classifier in task 2, and of these rules; they have their own tables.
_SUFFIXES = tuple(f"_{name}" for name in (*CLASSIFICATIONS, *RULES))


@dataclass(frozen=True)
class Cell:
    """A metric in a table.

    Attributes:
        value, interval: as text; `interval` may be empty.
        note: small text below, such as the number of images.
        link: identifier on the page to which `note` links.
    """

    value: str
    interval: str = ""
    note: str = ""
    link: str = ""


EMPTY = Cell("-")
Row = tuple[str, Sequence[Cell | str | int]]


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        caption: above the table.
        header: titles of all columns, including the column of row titles.
        rows: title and cells. Text is left-aligned, metrics and counts are right-aligned. A row without cells is the
            heading of the rows below it.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Row]

    @property
    def numeric(self) -> list[bool]:
        """Whether each column contains numbers."""
        cells = next((cells for _, cells in self.rows if cells), ())
        return [False, *(not isinstance(cell, str) for cell in cells)]


def make_cell(name: str, estimate: Estimate, *, counted: bool = False, note: str = "") -> Cell:
    """Return a metric as a cell, with the number of images if `counted`."""
    return Cell(
        format_value(name, estimate.value),
        format_interval(name, estimate),
        f"n = {estimate.n:,}" if counted else note,
    )


def make_cells(metrics: Mapping[str, Estimate], names: Iterable[str], *, counted: bool = False) -> list[Cell]:
    """Return the cells of a row; a missing metric is a dash."""
    return [make_cell(name, metrics[name], counted=counted) if name in metrics else EMPTY for name in names]


def tabulate(
    caption: str, first: str, columns: Mapping[str, str], rows: Mapping[str, Mapping[str, Estimate]], *, counted: bool
) -> Table:
    """Return a table of metrics.

    Args:
        caption: of the table.
        first: title of the first column.
        columns: titles of the other columns by metric.
        rows: metrics by row title.
        counted: whether cells show the number of images.
    """
    cells = [(title, make_cells(metrics, columns, counted=counted)) for title, metrics in rows.items()]
    return Table(caption, [first, *columns.values()], cells)


def tabulate_metrics(caption: str, configurations: Mapping[str, Mapping[str, Any]], *, suffix: str = "") -> Table:
    """Return the metrics of a task, a column for each configuration and split.

    Args:
        caption: of the table.
        configurations: entries of one task of `results.json` by configuration.
        suffix: selects the metrics whose names end with it; titles omit it.
    """
    columns = {
        f"{configuration.capitalize()}, {split}": chosen
        for configuration in order_configurations(configurations)
        for key, split in (("validation", "validation"), ("metrics", "test"))
        if (chosen := _choose_metrics(configurations[configuration].get(key, {}), suffix))
    }
    names = list(dict.fromkeys(name for metrics in columns.values() for name in metrics))
    names.sort(key=lambda name: FIRST_METRICS.index(name) if name in FIRST_METRICS else len(FIRST_METRICS))
    estimates = [{name: read_estimate(entry) for name, entry in metrics.items()} for metrics in columns.values()]
    rows = [(metric_title(name), [make_cells(column, [name])[0] for column in estimates]) for name in names]
    return Table(f"{caption}. Brackets contain 95% intervals.", ["Metric", *columns], rows)


def _choose_metrics(metrics: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    if suffix:
        return {name.removesuffix(suffix): metrics[name] for name in metrics if name.endswith(suffix)}
    copies = {name for name in ("accuracy", "f1") if f"{name}_quantile" in metrics}
    return {name: metrics[name] for name in metrics if not name.endswith(_SUFFIXES) and name not in copies}


def tabulate_false_positives(configurations: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the nominal and the measured false positive rate of task 3, with the sensitivity, by configuration."""
    name, rows = "false_positive_rate_quantile", []
    for configuration in order_configurations(configurations):
        entry = configurations[configuration]
        measured = {metric: read_estimate(one) for metric, one in entry["metrics"].items()}
        cells = make_cells(measured, [name, "sensitivity_quantile"], counted=True)
        rows.append((configuration.capitalize(), [Cell(format_value(name, entry["false_positive_rate"])), *cells]))
    caption = (
        "Threshold from held-out normals: nominal rate, and rates measured on test. Brackets contain 95% intervals."
    )
    return Table(caption, ["Configuration", "Nominal", "False positive rate", "Sensitivity"], rows)


def tabulate_reference_rules(configurations: Mapping[str, Mapping[str, Any]], *, compared: bool) -> Table:
    """Return the flagged normals and others of task 3 by the rules of the reference protocol.

    Args:
        configurations: entries of task 3 of `results.json` by configuration.
        compared: whether to add the values of the reference study, which names one rule for both.
    """
    names = ("false_positive_rate", "sensitivity")
    rows: list[Row] = []
    for configuration in order_configurations(configurations):
        measured = {name: read_estimate(one) for name, one in configurations[configuration]["metrics"].items()}
        for rule in RULES:
            cells = make_cells(measured, [f"{name}_{rule}" for name in names], counted=True)
            title = metric_title(f"f1_{rule}").partition(", ")[2]
            rows.append((f"{configuration.capitalize()}, {title}", cells))
    reported = [reference_estimate("anomaly", f"{name}_two_sided") for name in names]
    if compared:
        cells = [make_cell(name, one) for name, one in zip(names, reported, strict=True) if one]
        rows.append(("Reported by the reference study", cells))
    caption = "Reference protocol: images flagged by mean and standard deviation (sd) of the test normals"
    return Table(f"{caption}. Brackets contain 95% intervals.", ["Rule", "Normals", "Others"], rows)


def tabulate_comparison(metrics: Sequence[ComparedMetric], titles: Mapping[str, str], *, compared: bool) -> Table:
    """Return the main metrics grouped by task, if `compared` with the reference study and the best publications."""
    configurations = order_configurations({name for metric in metrics for name in metric.ours})
    header = ["Metric", *(name.capitalize() for name in configurations)]
    if compared:
        header = ["Metric", "Reference study", *(f"Ours, {name}" for name in configurations), "Best published"]
    rows: list[Row] = []
    for task, title in titles.items():
        of_task = [metric for metric in metrics if metric.task == task]
        rows += [(title, [])] if of_task else []
        for metric in of_task:
            cells = [
                make_cell(metric.metric, metric.ours[name]) if name in metric.ours else Cell("not run")
                for name in configurations
            ]
            if compared:
                cells = [_cell_of_reference(metric), *cells, _cell_of_publication(metric.metric, metric.best)]
            rows.append((metric_title(metric.metric), cells))
    return Table("Metrics on test images. Brackets contain 95% intervals.", header, rows)


def _cell_of_reference(metric: ComparedMetric) -> Cell:
    if metric.reference is None:
        return Cell("not reported")
    cell = make_cell(metric.metric, metric.reference)
    return Cell(f"about {cell.value}", cell.interval) if metric.approximate else cell


def _cell_of_publication(metric: str, best: tuple[Publication, float] | None) -> Cell:
    if best is None:
        return Cell("not reported")
    publication, value = best
    return Cell(format_value(metric, value), note=publication.name, link=f"source-{publication.key}")


def tabulate_counts(
    caption: str, counts: Mapping[str, int], patients: Mapping[str, int], images: Mapping[str, int], labels: LabelSet
) -> Table:
    """Return the number of images of each split and class.

    Args:
        caption: of the table.
        counts: images by `split/class`.
        patients: patients by split.
        images: images by split, where they are not the sums of `counts`.
        labels: gives the order of the classes, and the negative class, whose share gets a column.
    """
    splits = _order({key.partition("/")[0] for key in counts}, ("train", "val", "test"))
    classes = _order({key.partition("/")[2] for key in counts}, labels.classes)
    negative = labels.negative if labels.negative in classes else None
    rows: list[Row] = []
    for split in splits:
        of_class = [counts.get(f"{split}/{name}", 0) for name in classes]
        total = images.get(split, sum(of_class))
        share = f"{100 * counts.get(f'{split}/{negative}', 0) / total:.1f}%" if total else "-"
        cells = [*of_class, total, *([Cell(share)] if negative else []), patients.get(split, EMPTY)]
        rows.append((split or "not assigned", cells))
    titles = [name or NO_FINDING for name in classes]
    return Table(caption, ["Split", *titles, "All", *([f"Share {negative}"] if negative else []), "Patients"], rows)


def _order(names: set[str], first: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: (first.index(name) if name in first else len(first), name))


def tabulate_exposure(exposure: Mapping[str, Sequence[float]]) -> Table:
    """Return the quantiles of the mean gray level of each class."""
    rows = [(name, [Cell(f"{level:.0f}") for level in levels]) for name, levels in exposure.items()]
    caption = "Mean gray level of an image, 0 (black) to 255 (white), quantiles of each class"
    return Table(caption, ["Class", "5%", "25%", "median", "75%", "95%"], rows)


def tabulate_settings(settings: Mapping[str, Any]) -> Table:
    """Return the settings of each configuration in columns."""
    configurations = order_configurations({name for name, value in settings.items() if isinstance(value, Mapping)})
    flat = [dict(_flatten(settings[configuration])) for configuration in configurations]
    names: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for values in flat for name in values):
        names.setdefault(name.rpartition(": ")[0], []).append(name)
    rows: list[Row] = []
    for group, members in names.items():
        rows += [(group.capitalize(), [])] if group else []
        rows += [(name.rpartition(": ")[2], [values.get(name, "-") for values in flat]) for name in members]
    return Table("Settings by configuration", ["Setting", *map(str.capitalize, configurations)], rows)


def list_shared_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that all configurations share, by title."""
    return {
        field_title(name): _format_setting(value) for name, value in settings.items() if not isinstance(value, Mapping)
    }


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for name, value in settings.items():
        title = f"{prefix}{name.replace('_', ' ')}"
        flat += _flatten(value, f"{title}: ") if isinstance(value, Mapping) else [(title, _format_setting(value))]
    return flat


def _format_setting(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list):
        return ", ".join(_format_setting(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def tabulate_timing(timing: Mapping[str, float]) -> Table:
    """Return the time of each stage."""
    stages = {name: seconds for name, seconds in timing.items() if name != "total"}
    total = format_seconds(timing.get("total", sum(stages.values())))
    rows = [
        (name.replace("_", " ").replace("-", ", "), [Cell(format_seconds(seconds))]) for name, seconds in stages.items()
    ]
    return Table(f"Time by stage, {total} in total", ["Stage", "Time"], rows)
