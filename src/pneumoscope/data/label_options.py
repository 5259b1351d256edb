"""How to read labels: columns, class names, mapping, negative class and groups."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pneumoscope.errors import LabelError
from pneumoscope.labels import LabelSet, fold_name, guess_negative


@dataclass(frozen=True)
class LabelOptions:
    """How to read the labels of a folder or a table.

    `dataclasses.asdict` gives plain JSON, and `LabelOptions(**values)` reads it.

    Attributes:
        classes: names to use, in this order; images of other classes are left out. None: all.
        map: new name by old name, for example `{"Viral Pneumonia": "viral"}`. In columns of 0 and 1, `-1` (uncertain)
            and `empty` can be mapped to `0` or `1`.
        negative: class without a finding; None: guessed by its name.
        groups: classes by the name of a group.
        path_column, label_column, patient_column, split_column: columns of a table; None: found by their usual names.
            Several label columns hold one finding each.
        data_set: name of a known data set, see `KNOWN_SETS`; None: recognized.
        multi_label: read labels as findings, even if no image has several.
    """

    classes: tuple[str, ...] | None = None
    map: dict[str, str] = field(default_factory=dict)
    negative: str | None = None
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    path_column: str | None = None
    label_column: tuple[str, ...] | None = None
    patient_column: str | None = None
    split_column: str | None = None
    data_set: str | None = None
    multi_label: bool = False

    def __post_init__(self) -> None:
        for name in ("classes", "label_column"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        object.__setattr__(self, "groups", {name: tuple(members) for name, members in self.groups.items()})

    @classmethod
    def parse(
        cls, *, classes: str | None = None, map: Sequence[str] = (), group: Sequence[str] = (), **others: object
    ) -> "LabelOptions":
        """Return options from texts such as `a,b`, `old=new` and `group=a,b`.

        Raises:
            LabelError: if a text has another form.

        Example:
            >>> LabelOptions.parse(map=["Viral Pneumonia=viral"], group=["pneumonia=bacterial,viral"]).groups
            {'pneumonia': ('bacterial', 'viral')}
        """
        pairs = dict(_split_pair(text, "Viral Pneumonia=viral") for text in map)
        groups = dict(_split_pair(text, "pneumonia=bacterial,viral") for text in group)
        return cls(
            classes=None if classes is None else _split_names(classes),
            map=pairs,
            groups={name: _split_names(members) for name, members in groups.items()},
            **others,  # type: ignore[arg-type]
        )

    @property
    def label_set(self) -> LabelSet | None:
        """The classes as a label set, for a model without a card; None without classes."""
        if self.classes is None:
            return None
        negative = self.negative or guess_negative(self.classes)
        return LabelSet(self.classes, negative, self.groups, multi_label=self.multi_label)

    def names(self) -> set[str]:
        """Return all names that the options know, as `fold_name` writes them."""
        names = [*(self.classes or ()), *self.map, *self.groups, *([self.negative] if self.negative else [])]
        return {fold_name(name) for name in (*names, *(item for group in self.groups.values() for item in group))}


def _split_names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _split_pair(text: str, example: str) -> tuple[str, str]:
    old, equals, new = text.rpartition("=")
    if not equals or not old.strip() or not new.strip():
        raise LabelError(f"{text!r} has no name on both sides of =; expected a text such as {example!r}")
    return old.strip(), new.strip()
