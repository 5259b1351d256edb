"""A trained model as a folder: `model.weights.h5` and `card.json`, which says all that a reader must know.

Loading builds the net from this package's own code and reads numbers into it: nothing in the folder is executed.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.errors import BundleError
from pneumoscope.models.encoder import build_encoder
from pneumoscope.models.flagship import build_flagship
from pneumoscope.models.paper import build_autoencoder, build_binary, build_three_class
from pneumoscope.models.settings import choose_precision
from pneumoscope.models.transfer import BACKBONES, build_transfer
from pneumoscope.radiographs.source import hash_file

CARD_VERSION = 1
WEIGHTS_NAME = "model.weights.h5"
CARD_NAME = "card.json"

_BUILDERS: dict[str, Callable[[], keras.Model]] = {
    "binary": build_binary,
    "three_class": build_three_class,
    "flagship": build_flagship,
    "autoencoder": build_autoencoder,
    "encoder": build_encoder,
}


@dataclass(frozen=True)
class Bundle:
    """A trained model with its card.

    Attributes:
        model: the net with its weights.
        card: what it was trained on and how; see `save_bundle`.
    """

    model: keras.Model
    card: dict[str, Any]


def save_bundle(model: keras.Model, bundle_dir: str | os.PathLike[str], facts: dict[str, Any]) -> Bundle:
    """Write a trained model and its card.

    Args:
        model: one of the nets of `pneumoscope.models`; its name and the shape of its input say how to build it again.
        bundle_dir: the folder; made where it is missing.
        facts: what the card tells beside name, parameters, input, hash and version: classes, settings, seed,
            thresholds, hash of the training data.
    """
    bundle_dir = Path(bundle_dir)
    bundle_dir.mkdir(parents=True, exist_ok=True)
    partial = bundle_dir / f"partial.{WEIGHTS_NAME}"
    model.save_weights(partial)
    partial.replace(bundle_dir / WEIGHTS_NAME)
    card = {
        "card_version": CARD_VERSION,
        "notice": RESEARCH_USE_ONLY,
        "architecture": model.name,
        "parameters": model.count_params(),
        "input": {"shape": list(model.input_shape[1:]), "range": [0, 255], "resize": "anti-aliased bilinear"},
        "weights_sha256": hash_file(bundle_dir / WEIGHTS_NAME),
        "pneumoscope": __version__,
        "keras": keras.__version__,
        **facts,
    }
    partial = bundle_dir / f"{CARD_NAME}.partial"
    partial.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    partial.replace(bundle_dir / CARD_NAME)
    return Bundle(model, card)


def load_bundle(bundle_dir: str | os.PathLike[str], *, precision: str | None = None) -> Bundle:
    """Load a trained model.

    Args:
        bundle_dir: the folder.
        precision: Keras dtype policy to compute in; the fastest of this machine by default.

    Raises:
        BundleError: if the folder holds no bundle, its weights are not those of its card, or it was written by
            another version of the format.
    """
    bundle_dir = Path(bundle_dir)
    try:
        card = json.loads((bundle_dir / CARD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{bundle_dir} holds no trained model ({error}); expected {CARD_NAME} and {WEIGHTS_NAME}, as "
            "`pneumoscope train` or `pneumoscope study` leave them"
        ) from None
    known = (*_BUILDERS, *BACKBONES)
    if card.get("card_version") != CARD_VERSION or card.get("architecture") not in known:
        raise BundleError(
            f"{bundle_dir / CARD_NAME} is version {card.get('card_version')} of {card.get('architecture')!r}; "
            f"expected version {CARD_VERSION} of {', '.join(known)}. Train it again with this version."
        )
    weights = bundle_dir / WEIGHTS_NAME
    if not weights.exists() or hash_file(weights) != card.get("weights_sha256"):
        raise BundleError(f"{weights} is missing or not the file its card describes; train it again")
    keras.config.set_dtype_policy(precision or choose_precision())
    model = _build_net(card)
    model.load_weights(weights)
    return Bundle(model, card)


def _build_net(card: dict[str, Any]) -> keras.Model:
    name = card["architecture"]
    return build_transfer(name, size=card["input"]["shape"][0]) if name in BACKBONES else _BUILDERS[name]()
