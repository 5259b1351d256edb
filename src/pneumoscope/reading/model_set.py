"""The models of a reader as a folder of three bundles; loading executes nothing but the graphs' arithmetic.

    MODELS/
      classifier/   graphs: probabilities of the three classes and embedding; heat-maps of each convolutional layer
      anomaly/      graphs: how odd an image is to a model that has seen only normals; where it is
      known/        the training images' embeddings, labels, names and places on the map, and their common look

Each holds `card.json`, which names its files with their SHA-256 and says what they are, and a `README.md` for people.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pneumoscope.errors import BundleError
from pneumoscope.radiographs.source import hash_file
from pneumoscope.reading.domain import Domain

SHIPPED_DIR = Path(__file__).parents[1] / "weights"
CARD_VERSIONS = {"classifier": 2, "anomaly": 3, "known": 2}
IMAGES_AT_ONCE = 8
CARD_NAME = "card.json"
PARTS = tuple(CARD_VERSIONS)


@dataclass(frozen=True)
class Graph:
    """A net as ONNX, loaded when it is first asked.

    Attributes:
        path: of the `.onnx` file.
        num_threads: 0 is one for each core.
    """

    path: Path
    num_threads: int = 0

    @cached_property
    def session(self) -> Any:
        """The net, ready to run.

        Raises:
            BundleError: if ONNX Runtime cannot run it.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.num_threads
        options.log_severity_level = 3
        # Threads that spin while they wait would take the cores from those that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its own
            version = onnxruntime.__version__
            raise BundleError(f"{self.path} is no graph that ONNX Runtime {version} can run: {error}") from None

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Return some outputs for some inputs, all by name; eight images at a time, which bounds the memory."""
        count = len(next(iter(inputs.values())))
        parts = [
            self.session.run(outputs, {name: values[start : start + IMAGES_AT_ONCE] for name, values in inputs.items()})
            for start in range(0, count, IMAGES_AT_ONCE)
        ]
        return [np.concatenate(found) for found in zip(*parts, strict=True)]


@dataclass(frozen=True)
class KnownImages:
    """The images that the classifier was trained on, without their pixels.

    Attributes:
        embeddings: `(n, d)` float32.
        labels: `(n,)` int, index into the classifier's classes.
        names: `(n,)` str, file below the root of the collection.
        patients: `(n,)` str.
        coordinates: `(n, 2)` float32, place on the t-SNE map.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    patients: np.ndarray
    coordinates: np.ndarray


@dataclass(frozen=True)
class ModelSet:
    """All that a reader needs.

    Attributes:
        cards: by part, what its `card.json` says.
        answers, scores: the graphs of the classifier and the model of normals that all answers come from.
        classifier, layers, anomaly: those that pictures come from; see `pneumoscope.models.graph`.
        known: the training images.
        domain: their look.
    """

    cards: dict[str, dict[str, Any]]
    answers: Graph
    scores: Graph
    classifier: Graph
    layers: Graph
    anomaly: Graph
    known: KnownImages
    domain: Domain

    @cached_property
    def id(self) -> str:
        """Version of the package that made the models, 8 digits of the hash of all their files, and the notice."""
        files = json.dumps([sorted(self.cards[part]["files"].items()) for part in PARTS])
        version = self.cards["classifier"]["pneumoscope"]
        return f"pneumoscope-{version}-{hashlib.sha256(files.encode()).hexdigest()[:8]} (research use only)"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the classifier's probabilities."""
        return tuple(self.cards["classifier"]["classes"])

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that images are shrunk to."""
        return int(self.cards["classifier"]["input"]["shape"][0])


def load_model_set(models_dir: str | os.PathLike[str] | None = None, *, num_threads: int = 0) -> ModelSet:
    """Load the models that a reader needs.

    Args:
        models_dir: as `pneumoscope export` leaves it; None takes the models that ship with the package.
        num_threads: of each graph; 0 is one for each core.

    Raises:
        BundleError: if a part is missing, damaged, changed since its card was written, or of another version.
    """
    folder = SHIPPED_DIR if models_dir is None else Path(models_dir)
    cards = {part: load_card(folder / part, kind=part) for part in PARTS}
    with_images = _load_arrays(folder / "known" / "known.npz")
    look = _load_arrays(folder / "known" / "domain.npz")
    try:
        known = KnownImages(**{**with_images, "embeddings": with_images["embeddings"].astype(np.float32)})
        domain = Domain.from_arrays(look)
    except (TypeError, KeyError, ValueError) as error:
        raise BundleError(
            f"{folder / 'known'} lacks arrays or has others than expected ({error}); export it again"
        ) from None
    graphs = {
        part: {
            name: Graph(folder / part / file, num_threads)
            for name, file in cards[part]["graph"].items()
            if name in ("file", "answers_file", "layers_file")
        }
        for part in ("classifier", "anomaly")
    }
    models = ModelSet(
        cards,
        answers=graphs["classifier"]["answers_file"],
        scores=graphs["anomaly"]["answers_file"],
        classifier=graphs["classifier"]["file"],
        layers=graphs["classifier"]["layers_file"],
        anomaly=graphs["anomaly"]["file"],
        known=known,
        domain=domain,
    )
    # Those that every reading needs are loaded at once, so that what is wrong with them is told at once.
    for needed in (models.answers, models.scores):
        needed.session  # noqa: B018
    return models


def as_input(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return `(n, H, W)` uint8 images as what a graph takes."""
    return {"image": images[..., None].astype(np.float32)}


def load_card(bundle_dir: Path, *, kind: str) -> dict[str, Any]:
    """Return what a bundle says of itself, once its files are found to be those it names.

    Raises:
        BundleError: if it does not.
    """
    path = bundle_dir / CARD_NAME
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(
            f"{path} cannot be read ({reason}); expected a folder with {', '.join(PARTS)}, "
            "as `pneumoscope export` leaves it"
        ) from None
    found = (card.get("card_version"), card.get("kind")) if isinstance(card, dict) else (None, None)
    if found != (CARD_VERSIONS[kind], kind):
        raise BundleError(
            f"{path} is version {found[0]} of a bundle of kind {found[1]!r}; expected version {CARD_VERSIONS[kind]} of "
            f"{kind!r}. Export the models again with this version of pneumoscope."
        )
    for name, digest in card["files"].items():
        if Path(name).name != name:
            raise BundleError(f"{path} names {name!r}; expected files of its own folder only")
        if not (bundle_dir / name).is_file():
            raise BundleError(f"{bundle_dir / name} is missing; export the models again, or install pneumoscope again")
        if hash_file(bundle_dir / name) != digest:
            raise BundleError(
                f"{bundle_dir / name} is not the file that {CARD_NAME} describes; export or install again"
            )
    return card


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BundleError(f"{path} cannot be read ({error}); export the models again") from None
