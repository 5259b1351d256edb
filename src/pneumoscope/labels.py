"""The labels of a data set or a model as data: class names, the negative class, groups, single- or multi-label."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pneumoscope.errors import LabelError

NEGATIVE_NAMES = ("normal", "no finding", "healthy", "negative", "0")
SEPARATOR = "|"
NO_FINDING = "no finding"
UNKNOWN = -1

Task = Literal["binary", "multiclass", "multilabel"]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a data set or a model.

    In a single-label set, every image has one of the classes. In a multi-label set, the classes are findings, and an
    image has any number of them.

    Attributes:
        classes: two or more class names (one or more findings in a multi-label set), in the order of a model's outputs.
        negative: the class without a finding. None if there is none. In a multi-label set it is the name for images
            without any finding, such as `No Finding`, and not one of the classes.
        groups: classes by the name of a group, such as `{"infection": ("covid", "flu")}`. The label of an image
            may be a group if its class is unknown. Single-label sets only.
        multi_label: whether an image can have several classes.

    Example:
        >>> labels = LabelSet(("healthy", "tuberculosis", "covid"), negative="healthy")
        >>> labels.task, labels.positive, labels.scored
        ('multiclass', 'abnormal', ('healthy', 'tuberculosis', 'covid', 'abnormal'))
        >>> labels.encode(["covid", "healthy", "other"])
        array([ 2,  0, -1])
    """

    classes: tuple[str, ...]
    negative: str | None = None
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    multi_label: bool = False

    def __post_init__(self) -> None:
        names = [*self.classes, *self.groups]
        for problem, faulty in self._find_problems(names).items():
            if faulty:
                raise LabelError(
                    f"{problem}: {', '.join(map(repr, faulty))}; the classes are {', '.join(self.classes)}"
                )
        if len(self.classes) < (1 if self.multi_label else 2):
            found = ", ".join(self.classes) or "none"
            raise LabelError(f"the classes are {found}; expected two or more classes, or one or more findings")

    def _find_problems(self, names: Sequence[str]) -> dict[str, list[str]]:
        keys = [fold_name(name) for name in names]
        is_class = self.negative in self.classes
        members = [name for group in self.groups.values() for name in group]
        return {
            "names are empty, not printable or contain |": [
                name for name in names if not name.strip() or not name.isprintable() or SEPARATOR in name
            ],
            "names occur twice, or differ in case only": [name for name in names if keys.count(fold_name(name)) > 1],
            "groups have members that are no class": [name for name in members if name not in self.classes],
            "groups are empty": [name for name, group in self.groups.items() if not group],
            "groups are defined for single-label sets only": [*self.groups] if self.multi_label else [],
            "the negative class is no class": [self.negative] if self.negative and not (is_class or self.multi_label)
            else [],
            "the negative class is a finding": [self.negative] if self.negative and is_class and self.multi_label
            else [],
        }  # fmt: skip

    @property
    def task(self) -> Task:
        """`binary`, `multiclass` or `multilabel`."""
        if self.multi_label:
            return "multilabel"
        return "binary" if len(self.classes) == 2 else "multiclass"

    @property
    def positives(self) -> tuple[str, ...]:
        """All classes but the negative one."""
        return tuple(name for name in self.classes if name != self.negative)

    @property
    def positive(self) -> str | None:
        """The name of all classes but the negative one together; None for multi-label sets or without a negative class.

        It is the only other class, the group of all others, or else `abnormal`.
        """
        if self.multi_label or self.negative is None:
            return None
        if len(self.classes) == 2:
            return self.positives[0]
        whole = (name for name, group in self.groups.items() if set(group) == set(self.positives))
        return next(whole, f"not {self.negative}" if "abnormal" in self.classes else "abnormal")

    @property
    def prior(self) -> NDArray[np.float64]:
        """The class frequencies that calibrated probabilities of a single-label set assume, `(classes,)` float64.

        Half of the images are negative, and the positive classes are equally frequent: the probability of `positive`
        then does not depend on how many classes it has. Without a negative class, all classes are equally frequent.

        Example:
            >>> LabelSet(("well", "flu", "covid"), "well").prior.tolist()
            [0.5, 0.25, 0.25]
        """
        if self.positive is None:
            return np.full(len(self.classes), 1 / len(self.classes))
        return np.array([0.5 if name == self.negative else 0.5 / len(self.positives) for name in self.classes])

    @property
    def scored(self) -> tuple[str, ...]:
        """The names with a probability: classes, groups, and `positive`."""
        return tuple(dict.fromkeys([*self.classes, *self.groups, *([self.positive] if self.positive else [])]))

    @property
    def without_finding(self) -> str:
        """The name of an image without any finding: the negative name, or `no finding`."""
        return self.negative or NO_FINDING

    @property
    def decided(self) -> tuple[str, ...]:
        """The names that have a threshold: each finding, or `positive`; none without a negative class."""
        return self.classes if self.multi_label else (self.positive,) if self.positive else ()

    def decide(self, probabilities: NDArray[np.floating], thresholds: Mapping[str, float]) -> NDArray[np.str_]:
        """Return the decision of each image, `(n,)` str.

        Args:
            probabilities: `(n, classes)` floats.
            thresholds: by name of `decided`, reached at `probability >= threshold`. Without them, the most probable
                class of a single-label set is the decision.

        Example:
            >>> labels = LabelSet(("well", "flu", "covid"), "well", {"infection": ("flu", "covid")})
            >>> labels.decide(np.array([[0.4, 0.3, 0.3]]), {"infection": 0.5}).tolist()
            ['infection']
            >>> labels.decide(np.array([[0.4, 0.3, 0.3]]), {}).tolist()
            ['well']
        """
        classes = np.array(self.classes)
        if self.multi_label:
            present = probabilities >= [thresholds[name] for name in self.classes]
            return np.array([SEPARATOR.join(classes[row]) or self.without_finding for row in present])
        likeliest = classes[probabilities.argmax(axis=1)]
        if self.positive is None or self.positive not in thresholds:
            return np.asarray(likeliest)
        positive: NDArray[np.str_] = np.array(self.positive)
        if self.positive not in (*self.classes, *self.groups):
            positive = classes[np.where(classes == self.negative, -1, probabilities).argmax(axis=1)]
        flagged = self.score_positive(probabilities) >= thresholds[self.positive]
        return np.where(flagged, positive, str(self.negative))

    def members(self, name: str) -> tuple[str, ...]:
        """Return the classes of a class, a group or `positive`.

        Raises:
            LabelError: if there is no such name.
        """
        if name in self.classes:
            return (name,)
        if name in self.groups:
            return tuple(self.groups[name])
        if name == self.positive:
            return self.positives
        raise LabelError(f"there is no class {name!r}; expected one of {', '.join(self.scored)}")

    def binary(self) -> "LabelSet":
        """Return the set of the negative class and `positive`.

        Raises:
            LabelError: if the set is multi-label or has no negative class.
        """
        if self.negative is None or self.positive is None:
            raise LabelError(f"{', '.join(self.classes)} have no negative class; name one")
        return LabelSet((self.negative, self.positive), self.negative)

    def tasks(self) -> "dict[Task, LabelSet]":
        """Return the classification tasks of a study with the classes of each; a finer task follows a coarser one."""
        if self.task != "multiclass":
            return {self.task: self}
        return {**({"binary": self.binary()} if self.negative else {}), "multiclass": self}

    def score(self, probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return `(..., scored)` probabilities of `scored` from `(..., classes)` probabilities of the classes.

        A group has the sum of its classes.
        """
        index = {name: number for number, name in enumerate(self.classes)}
        return np.stack(
            [probabilities[..., [index[item] for item in self.members(name)]].sum(axis=-1) for name in self.scored],
            axis=-1,
        )

    def score_positive(self, probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return `(...)` probabilities of `positive`, from `(..., classes)`: one minus that of the negative class."""
        if self.positive is None or self.negative is None:
            raise LabelError(f"{', '.join(self.classes)} have no negative class")
        return np.asarray(1 - probabilities[..., self.classes.index(self.negative)])

    def encode(self, names: Iterable[str], source: "LabelSet | None" = None) -> NDArray[np.int64]:
        """Return `(n,)` int64, the class of each label; -1 if the label is no class.

        Names are compared without case. With `source`, the labels are those of another set: its classes also count as
        the groups that contain them, for example `covid` as `infection`.
        """
        known = {fold_name(name): number for number, name in enumerate(self.classes)}
        source = source or self
        groups = {**source.groups, **({source.positive: source.positives} if source.positive else {})}
        for group, members in groups.items():
            if fold_name(group) in known:
                for name in (*members, *(other for other, part in source.groups.items() if set(part) <= set(members))):
                    known.setdefault(fold_name(name), known[fold_name(group)])
        return np.array([known.get(fold_name(name), UNKNOWN) for name in names], dtype=np.int64)

    def encode_findings(self, present: Iterable[str], uncertain: Iterable[str]) -> NDArray[np.int64]:
        """Return `(n, classes)` int64 of a multi-label set: 1 = present, 0 = absent, -1 = unknown.

        Args:
            present: `n` texts, the present findings joined by `|`, in any case; an empty text or the negative name is
                no finding.
            uncertain: `n` texts, the findings whose label is unknown, joined by `|`.
        """
        keys = [fold_name(name) for name in self.classes]
        rows = []
        for some, others in zip(present, uncertain, strict=True):
            found, unknown = ({fold_name(name) for name in text.split(SEPARATOR)} for text in (some, others))
            rows.append([1 if key in found else UNKNOWN if key in unknown else 0 for key in keys])
        return np.array(rows, dtype=np.int64).reshape(-1, len(keys))


def fold_name(name: str) -> str:
    """Return a class name for comparisons: without case and surrounding space, composed Unicode, `_` as space.

    Example:
        >>> fold_name(" No_Finding "), fold_name("COVID")
        ('no finding', 'covid')
    """
    return unicodedata.normalize("NFC", " ".join(name.replace("_", " ").split())).casefold()


def guess_negative(names: Iterable[str]) -> str | None:
    """Return the class without a finding, by its name (`NEGATIVE_NAMES`); None if no name is known.

    Example:
        >>> guess_negative(["COVID", "Healthy"]), guess_negative(["COVID", "Tuberculosis"])
        ('Healthy', None)
    """
    by_key = {fold_name(name): name for name in names}
    return next((by_key[key] for key in NEGATIVE_NAMES if key in by_key), None)


def propose_mapping(names: Sequence[str], classes: Sequence[str], *, negatives: tuple[str | None, str | None]) -> str:
    """Return an example of `--map` that never joins a negative class with another.

    Args:
        names: names to map.
        classes: what they can be mapped to.
        negatives: the negative class of each side, if it is known.

    Example:
        >>> propose_mapping(["normal", "TB"], ["healthy", "tuberculosis"], negatives=("normal", "healthy"))
        "--map 'normal=healthy'"
    """
    old, new = negatives
    if old not in names or new not in classes:
        old = min(names, key=lambda name: name == old)
        new = min(reversed(classes), key=lambda name: name == new)
    return f"--map '{old}={new}'"


def match_labels(dataset: LabelSet, model: LabelSet) -> None:
    """Make sure that a model can be evaluated on the labels of a data set.

    Every class of the data set must be a class, a group or `positive` of the model, or belong to a group of the data
    set that is one.

    Raises:
        LabelError: with the classes that do not match, and a proposed mapping.
    """
    if dataset.multi_label != model.multi_label:
        kinds = ("multi-label" if labels.multi_label else "single-label" for labels in (dataset, model))
        raise LabelError("the data set is {}, the model is {}; expected both of one kind".format(*kinds))
    known = {fold_name(name) for name in model.scored}
    groups: Mapping[str, tuple[str, ...]] = {**dataset.groups}
    if dataset.positive:
        groups = {**groups, dataset.positive: dataset.positives}
    through = {fold_name(name) for group, part in groups.items() if fold_name(group) in known for name in part}
    others = [name for name in dataset.classes if fold_name(name) not in known | through]
    if others and not (dataset.multi_label and len(others) < len(dataset.classes)):
        targets = ", ".join(model.scored)
        example = propose_mapping(others, model.classes, negatives=(dataset.negative, model.negative))
        raise LabelError(
            f"the data set has the classes {', '.join(dataset.classes)}; the model has {targets}. "
            f"Map {', '.join(map(repr, others))}, for example with {example}, or leave them out with --classes"
        )
