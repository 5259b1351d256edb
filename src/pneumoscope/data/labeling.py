"""What a folder or a table says about each image, and from its labels to classes."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pneumoscope.data.kermany import KERMANY_LABELS, KERMANY_WORDS, parse_name
from pneumoscope.data.known_sets import KNOWN_SETS
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.errors import LabelError
from pneumoscope.labels import NO_FINDING, SEPARATOR, LabelSet, fold_name, guess_negative, propose_mapping
from pneumoscope.progress import log

Skipped = list[dict[str, str]]


@dataclass(frozen=True)
class Entry:
    """One image as its source describes it.

    Attributes:
        path: file.
        name: printable path relative to the source, with `/`.
        present: its label, or all findings that are present, as the source writes them.
        uncertain: findings whose label is unknown.
        patient, split, age, sex, view: empty if unknown.
        folder: folder below the class, a patient or a series; empty if there is none.
        modality, body_part: empty if unknown.
    """

    path: Path
    name: str
    present: tuple[str, ...]
    uncertain: tuple[str, ...] = ()
    patient: str = ""
    split: str = ""
    age: str = ""
    sex: str = ""
    view: str = ""
    folder: str = ""
    modality: str = ""
    body_part: str = ""


@dataclass(frozen=True)
class Listing:
    """All images of a source.

    Attributes:
        entries: the images with a label.
        skipped: `name` and `reason` of the others.
        multi_label: whether an image can have several labels.
        findings: names of the columns, in a table with one column for each finding.
        left_out: labels of images that are not to be used.
        known_set: name of the known data set; empty for another one.
    """

    entries: list[Entry]
    skipped: Skipped
    multi_label: bool = False
    findings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    known_set: str = ""


Labeled = list[tuple[Entry, str, str]]  # an entry, its label and its uncertain findings


def assign_labels(listing: Listing, options: LabelOptions) -> tuple[Labeled, Skipped, LabelSet]:
    """Return the entries with their labels, the entries left out, and the classes.

    Raises:
        LabelError: if names differ only in accents, or if there are fewer than two classes.
    """
    spelling = _spell_names(listing, options)
    if listing.multi_label:
        return _assign_findings(listing, options, spelling)
    return _assign_classes(listing, options, spelling)


def _spell_names(listing: Listing, options: LabelOptions) -> dict[str, str]:
    """Return the class name of each name in the source: mapped, and in one spelling."""
    counts = Counter(name for entry in listing.entries for name in (*entry.present, *entry.uncertain))
    mapping = {fold_name(old): new for old, new in options.map.items()}
    names = {name: mapping.get(fold_name(name), name) for name in sorted({*counts, *listing.findings})}
    if unused := mapping.keys() - {fold_name(name) for name in names} - {"-1", "empty"}:
        log.warning("no label is mapped by %s; the labels are %s", ", ".join(sorted(unused)), ", ".join(names))
    chosen = [*(options.classes or ()), *options.groups, *([options.negative] if options.negative else [])]
    known = {fold_name(name): name for name in chosen}
    if not listing.multi_label and _is_kermany(names.values(), options):
        return {old: KERMANY_WORDS.get(fold_name(new), new) for old, new in names.items()}
    for name in (*options.map.values(), *names.values()):
        known.setdefault(fold_name(name), unicodedata.normalize("NFC", " ".join(name.split())))
    _check_accents(known)
    merged: dict[str, list[str]] = {}
    for old, new in names.items():
        merged.setdefault(known[fold_name(new)], []).append(old)
    for new, olds in merged.items():
        if len(olds) > 1:
            log.info("%s are one class, %r", ", ".join(map(repr, olds)), new)
    return {old: known[fold_name(new)] for old, new in names.items()}


def _is_kermany(names: Iterable[str], options: LabelOptions) -> bool:
    return options.data_set == "kermany" or all(fold_name(name) in KERMANY_WORDS for name in names)


def _check_accents(names: dict[str, str]) -> None:
    plain: dict[str, str] = {}
    for key, name in names.items():
        bare = "".join(sign for sign in unicodedata.normalize("NFD", key) if not unicodedata.combining(sign))
        other = plain.setdefault(bare, name)
        if other != name:
            raise LabelError(
                f"{other!r} and {name!r} differ only in accents; if they are one class, use --map '{other}={name}'"
            )


def _choose_negative(names: Sequence[str], options: LabelOptions) -> str | None:
    """Return the negative class of the options, or else the one whose name says so, such as `normal` or `no edema`."""
    keys = {fold_name(name): name for name in names}
    if options.negative is not None:
        return keys.get(fold_name(options.negative), options.negative)
    negative = guess_negative(names) or next((keys[f"no {key}"] for key in keys if f"no {key}" in keys), None)
    if negative is None:
        log.info("no class is known to be negative; name one with --negative")
    else:
        log.info("%r is taken as the negative class, by its name; choose another with --negative", negative)
    return negative


def _assign_classes(
    listing: Listing, options: LabelOptions, spelling: dict[str, str]
) -> tuple[Labeled, Skipped, LabelSet]:
    names = sorted(set(spelling.values()), key=fold_name)
    is_kermany = _is_kermany(names, options)
    labels = [spelling[entry.present[0]] for entry in listing.entries]
    if is_kermany and (options.data_set or any(parse_name(entry.path.name) for entry in listing.entries)):
        log.info("recognized as %s (%s)", KNOWN_SETS[0].title, KNOWN_SETS[0].source)
        labels = [_read_cause(entry, label) for entry, label in zip(listing.entries, labels, strict=True)]
    base = _make_base(set(labels) if is_kermany else set(names), is_kermany, options)
    target = base if base is not None and options.classes is None else _choose_classes(options, base, spelling)
    labeled: Labeled = []
    skipped: Skipped = []
    codes = target.encode(labels, base).tolist()
    for entry, label, code in zip(listing.entries, labels, codes, strict=True):
        if code >= 0 or label in target.groups:
            labeled.append((entry, target.classes[code] if code >= 0 else label, ""))
        else:
            skipped.append({"name": entry.name, "reason": f"class {label!r} is not among {', '.join(target.classes)}"})
    _log_counts(Counter(label for _, label, _ in labeled), target.classes)
    return labeled, skipped, target


def _read_cause(entry: Entry, label: str) -> str:
    """Return the class of a pneumonia of the Kermany data set if the file name contains it."""
    parsed = parse_name(entry.path.name)
    return parsed.label if label == "pneumonia" and parsed is not None and parsed.label != "normal" else label


def _make_base(names: set[str], is_kermany: bool, options: LabelOptions) -> LabelSet | None:
    """Return the classes of a source; None if it has fewer than two and the options name others."""
    if is_kermany and not options.groups and fold_name(options.negative or "normal") == "normal":
        return KERMANY_LABELS if names & {"bacterial", "viral"} else LabelSet(("normal", "pneumonia"), "normal")
    members = {name for group in options.groups.values() for name in group}
    classes = sorted((names | members) - set(options.groups), key=fold_name)
    if len(classes) < 2 and options.classes is not None:
        return None
    negative = _choose_negative(classes, options)
    ordered = sorted(classes, key=lambda name: name != negative)  # the negative class first
    return LabelSet(tuple(ordered), negative, options.groups)


def _choose_classes(options: LabelOptions, base: LabelSet | None, spelling: dict[str, str]) -> LabelSet:
    known = {fold_name(name): name for name in (*spelling.values(), *(base.scored if base is not None else ()))}
    classes = tuple(known.get(fold_name(name), name) for name in options.classes or ())
    if spelling and not {*classes} & {*known.values()}:
        found = [*dict.fromkeys(spelling.values())]
        example = propose_mapping(found, classes, negatives=(guess_negative(found), guess_negative(classes)))
        raise LabelError(
            f"the data set has the classes {', '.join(found)}; expected some of {', '.join(classes)}. Map them, for "
            f"example with {example}"
        )
    if base is not None and (base.negative in classes or (base.negative is None and {*classes} <= {*base.classes})):
        negative = base.negative
    else:
        negative = _choose_negative(classes, options)
    groups = base.groups if base is not None else options.groups
    whole = {name: group for name, group in groups.items() if set(group) <= set(classes) and name not in classes}
    return LabelSet(classes, negative, whole)


def _assign_findings(
    listing: Listing, options: LabelOptions, spelling: dict[str, str]
) -> tuple[Labeled, Skipped, LabelSet]:
    found = [spelling[name] for name in listing.findings] or sorted(set(spelling.values()), key=fold_name)
    negative = _choose_negative(found, options)
    unused = {fold_name(name) for name in (*listing.left_out, *([negative] if negative else []))}
    known = {fold_name(name): name for name in found}
    chosen = [known.get(fold_name(name), name) for name in options.classes or found]
    classes = tuple(name for name in dict.fromkeys(chosen) if fold_name(name) not in unused)
    label_set = LabelSet(classes, negative, options.groups, multi_label=True)
    unlisted = {name for name in classes if fold_name(name) not in known}  # chosen, but unknown to the source
    labeled: Labeled = []
    skipped: Skipped = []
    counts: Counter[str] = Counter()
    for entry in listing.entries:
        present, uncertain = ({spelling[name] for name in names} for names in (entry.present, entry.uncertain))
        faulty = next((name for name in entry.present if name in listing.left_out), None)
        doubtful = [name for name in classes if name in (uncertain | unlisted) - present]
        if faulty is not None or len(doubtful) == len(classes):
            skipped.append({"name": entry.name, "reason": f"label {faulty!r}" if faulty else "no label is known"})
            continue
        names = [name for name in classes if name in present]
        counts.update(present if present else [negative or NO_FINDING])
        labeled.append((entry, SEPARATOR.join(names), SEPARATOR.join(doubtful)))
    _log_counts(counts, (*classes, negative or NO_FINDING))
    others = {name: count for name, count in counts.items() if name not in classes and fold_name(name) not in unused}
    others.pop("no finding", None)
    if others:
        log.warning("findings left out: %s", ", ".join(f"{name} ({count} images)" for name, count in others.items()))
    return labeled, skipped, label_set


def _log_counts(counts: Counter[str], names: Iterable[str]) -> None:
    log.info("images by label: %s", ", ".join(f"{name} {counts[name]}" for name in dict.fromkeys([*names, *counts])))
    if empty := [name for name in names if not counts[name]]:
        log.warning("no image has the label %s", ", ".join(empty))
