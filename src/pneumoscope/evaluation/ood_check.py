"""What the gate before the models lets through: usual films, and all kinds of pictures that are none."""

from collections.abc import Mapping

import numpy as np

from pneumoscope.data.dataset import Dataset
from pneumoscope.inference.ood import OODDetector
from pneumoscope.io.results import OODCheck, OODKind
from pneumoscope.metrics.classification import estimate_share
from pneumoscope.phantoms.invalid_inputs import KINDS, make_invalid_inputs
from pneumoscope.progress import track

AS_THEY_ARE = "films as they are"
NUM_FILMS = 250


def measure_ood(
    domain: OODDetector,
    dataset: Dataset,
    *,
    split: str = "val",
    others: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> OODCheck:
    """Measure what becomes of films as they are, and of wrong inputs made of them.

    The net of the gate has learned some kinds of wrong inputs, made of training films; here they are made of others.

    Args:
        domain: the gate.
        dataset: split into `split` and others.
        split: whose films to take; wrong inputs are made of at most 250 of them, spread evenly.
        others: further pictures by name, `(n, H, W)` uint8, such as adults, photographs or other parts of the body.
        seed: of the wrong inputs and of the resampling of patients.

    Raises:
        ValueError: if the split holds no image.
    """
    part = dataset.split(split)
    if not len(part):
        raise ValueError(f"the split {split!r} holds no image; expected some to measure on")
    films = part.select(np.unique(np.linspace(0, len(part) - 1, min(NUM_FILMS, len(part))).round().astype(int)))
    patients = films.table["patient"].to_numpy().astype(str)
    checks = [_check_kind(AS_THEY_ARE, "usual", domain, part.images, part.table["patient"].to_numpy().astype(str))]
    for name, kind in track(KINDS.items(), "Wrong inputs", total=len(KINDS)):
        origin = "learned" if kind.learned else "unseen"
        checks.append(
            _check_kind(name, origin, domain, make_invalid_inputs(films.images, name, seed=seed + 1), patients)
        )
    for name, images in (others or {}).items():
        checks.append(_check_kind(name, "other", domain, images, np.arange(len(images)).astype(str)))
    return OODCheck(split, tuple(checks))


def _check_kind(kind: str, origin: str, domain: OODDetector, images: np.ndarray, patients: np.ndarray) -> OODKind:
    verdicts = domain.check(images)
    reasons, counts = np.unique([reason for _, _, reason in verdicts if reason], return_counts=True)
    return OODKind(
        kind,
        origin,
        flagged=estimate_share([not in_domain for in_domain, _, _ in verdicts], patients),
        refused=estimate_share([refused for _, refused, _ in verdicts], patients),
        reason=str(reasons[counts.argmax()]) if len(reasons) else "",
    )
