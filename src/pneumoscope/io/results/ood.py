"""Results of the checks of the OOD detector."""

from __future__ import annotations

from dataclasses import dataclass

from pneumoscope.io.results.estimate import Estimate


@dataclass(frozen=True)
class OODKind:
    """What became of one kind of input.

    Attributes:
        kind: what it is.
        origin: `usual`, `learned` (the gate has learned from others of this kind), `unseen` (it has not), or `other`
            (not made of the films of the split).
        flagged: share that is not let through as it is, refused ones included.
        refused: share that is refused.
        reason: the reason given most often; empty where none was.
    """

    kind: str
    origin: str
    flagged: Estimate
    refused: Estimate
    reason: str

    def __post_init__(self) -> None:
        if self.refused.value > self.flagged.value:
            raise ValueError(f"{self.kind}: refused {self.refused} is more than flagged {self.flagged}")


@dataclass(frozen=True)
class OODCheck:
    """What the gate lets through.

    Attributes:
        split: the films that all was made of.
        kinds: usual films first.
    """

    split: str
    kinds: tuple[OODKind, ...]

    def __post_init__(self) -> None:
        if not self.kinds or self.kinds[0].origin != "usual":
            raise ValueError("kinds begin with what is not usual, expected the usual films first")
