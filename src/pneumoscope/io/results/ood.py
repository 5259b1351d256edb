"""Results of the check of the OOD detector."""

from __future__ import annotations

from dataclasses import dataclass

from pneumoscope.io.results.estimate import Estimate, require


@dataclass(frozen=True)
class OODKind:
    """What becomes of one kind of input.

    Attributes:
        kind: its name.
        origin: `usual`, `learned` (the OOD detector was fitted on others of this kind), `unseen` (it was not), or
            `other` (not made from the images of the split).
        flagged: share that is not accepted without a remark, rejected ones included.
        refused: share that is rejected.
        reason: the most frequent reason; empty where there is none.
    """

    kind: str
    origin: str
    flagged: Estimate
    refused: Estimate
    reason: str

    def __post_init__(self) -> None:
        too_many = f"{self.kind}: refused {self.refused} is more than flagged {self.flagged}"
        require(self.refused.value <= self.flagged.value, too_many)


@dataclass(frozen=True)
class OODCheck:
    """What the OOD detector accepts.

    Attributes:
        split: of the images that the inputs are made from.
        kinds: unchanged images first.
    """

    split: str
    kinds: tuple[OODKind, ...]

    def __post_init__(self) -> None:
        require(bool(self.kinds) and self.kinds[0].origin == "usual", "expected unchanged images as the first kind")
