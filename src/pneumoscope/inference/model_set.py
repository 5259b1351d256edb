"""The models of a reader: a folder with up to three parts. Each part contains its files, `card.json` and `README.md`.

READER/
  classifier/   ONNX graph: probabilities, embedding and heatmaps
  anomaly/      ONNX graph: anomaly score, anomaly map and patch features of the normality model
  references/   reference cases: embeddings, labels, names and map positions of the training images; OOD detector

The card of the classifier names the parts that were left out.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pneumoscope.errors import ModelError
from pneumoscope.inference.cards import (
    MODEL_NAME,
    OOD_DETECTOR_NAME,
    REFERENCE_CASES_NAME,
    AnomalyCard,
    ClassifierCard,
    ReferenceCard,
    load_card,
)
from pneumoscope.inference.ood import OODDetector
from pneumoscope.io.read import open_regular, read_arrays
from pneumoscope.io.results import check_shapes, require
from pneumoscope.labels import LabelSet
from pneumoscope.models.card import CARD_NAME

SHIPPED_DIR = Path(__file__).parents[1] / "weights"
READER_NAME = "reader"  # the exported reader in the folder of a study
BATCH_SIZE = 2
NO_HEATMAPS = (
    "this classifier has no class activation maps, because it does not end in global average pooling and one Dense "
    "layer; `pneumoscope explain` draws heatmaps of the Keras model"
)
# A string of protobuf after its length, 8; a longer form of the same number ends with 0.
_LOCATION_KEYS = (b"\x08location", b"\x00location")
PATCHES_OUTPUT = "patches"  # patch features of the normality model


@dataclass(frozen=True)
class Graph:
    """An ONNX file, loaded on first use.

    Attributes:
        path: path of the file.
        num_threads: number of threads; 0 is one per core.
        batch_size: number of images in a batch, which bounds the memory.
    """

    path: Path
    num_threads: int = 0
    batch_size: int = BATCH_SIZE

    @cached_property
    def session(self) -> Any:
        """The ONNX Runtime session.

        Raises:
            ModelError: if ONNX Runtime cannot load the file.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.num_threads
        options.log_severity_level = 3
        # Spinning threads would take cores from the threads that decode images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            # The fallback prints messages, and tries the same provider again.
            return onnxruntime.InferenceSession(
                _read_graph(self.path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except ModelError:
            raise
        except Exception as error:  # ONNX Runtime raises its own classes
            version = onnxruntime.__version__
            raise ModelError(
                f"ONNX Runtime {version} cannot load {self.path} ({error}); export the models again or reinstall "
                "pneumoscope"
            ) from None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(output.name for output in self.session.get_outputs())

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Run the graph in batches.

        Args:
            inputs: numbers by input name; each batch becomes float32.
            outputs: names of the outputs to compute.

        Returns:
            One array per output, in the order of `outputs`.

        Raises:
            ModelError: if ONNX Runtime cannot run the graph on these inputs.
        """
        count = len(next(iter(inputs.values())))
        session = self.session
        try:
            batches = [
                session.run(outputs, {name: values[rows].astype(np.float32) for name, values in inputs.items()})
                for rows in (slice(start, start + self.batch_size) for start in range(0, count, self.batch_size))
            ]
        except Exception as error:  # ONNX Runtime raises its own classes
            shapes = ", ".join(f"{name} {values.shape}" for name, values in inputs.items())
            raise ModelError(f"{self.path} cannot compute {', '.join(outputs)} of {shapes}: {error}") from None
        return [np.concatenate(values) for values in zip(*batches, strict=True)]


@dataclass(frozen=True)
class ReferenceCases:
    """The reference cases: the training images without their pixels.

    Attributes:
        embeddings: `(n, d)` float32.
        labels: `(n,)` int, index into the classes. Multi-label: `(n, classes)` int, see `Dataset.labels`.
        names: `(n,)` str, paths relative to the root of the collection.
        patients: `(n,)` str.
        coordinates: `(n, 2)` float32, positions on a map.
        sha256: `(n,)` str, hash of each file; None in exports that do not list them.
        hashes: `(n, 4)` uint64, perceptual hash of each image; None in exports that do not list them.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    patients: np.ndarray
    coordinates: np.ndarray
    sha256: np.ndarray | None = None
    hashes: np.ndarray | None = None


@dataclass(frozen=True)
class ModelCards:
    """The cards of a reader's models; None for a part that was left out."""

    classifier: ClassifierCard
    anomaly: AnomalyCard | None
    references: ReferenceCard | None


@dataclass(frozen=True)
class ModelSet:
    """The models of a reader.

    Attributes:
        cards: cards of the parts.
        classifier: graph of probabilities, embedding and heatmaps.
        anomaly: graph of anomaly score and anomaly map; None if left out.
        references: the reference cases; None if left out.
        ood_detector: the detector that flags or rejects out-of-distribution images; None if left out.
    """

    cards: ModelCards
    classifier: Graph
    anomaly: Graph | None
    references: ReferenceCases | None
    ood_detector: OODDetector | None

    @cached_property
    def id(self) -> str:
        """Identity of the models: version of the exporting package, 8 digits of their hash, and the notice."""
        files = json.dumps([sorted(card.files.items()) for card in vars(self.cards).values() if card])
        adapted = self.cards.classifier.adapted
        if adapted:  # an adaptation may change the card alone
            files += json.dumps([adapted.data_sha256, self.cards.classifier.calibration.fitted])
        digest = hashlib.sha256(files.encode()).hexdigest()[:8]
        name = f"pneumoscope-{self.cards.classifier.pneumoscope}-{digest}{', adapted' if adapted else ''}"
        return f"{name} (research use only)"

    @property
    def ood_source(self) -> tuple[Graph, str]:
        """The graph and the output from which the OOD detector takes its features, see `find_ood_source`."""
        return find_ood_source(self.classifier, self.anomaly)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the classifier's probabilities."""
        return self.label_set.classes

    @property
    def label_set(self) -> LabelSet:
        """The classes of the classifier."""
        return self.cards.classifier.label_set

    @property
    def image_size(self) -> int:
        """Side of the square input images, in pixels."""
        return self.cards.classifier.input.shape[0]


def find_ood_source(classifier: Graph, anomaly: Graph | None) -> tuple[Graph, str]:
    """Return the graph and the name of its output that the OOD detector takes as features.

    These are the patch features of the normality model. Without one, it is the embedding of the classifier.
    """
    if anomaly is not None and PATCHES_OUTPUT in anomaly.outputs:
        return anomaly, PATCHES_OUTPUT
    return classifier, "embedding"


def load_model_set(models_dir: str | os.PathLike[str] | None = None, *, num_threads: int = 0) -> ModelSet:
    """Load the models that a reader needs.

    Args:
        models_dir: exported reader, or a study that contains one; None loads the included models.
        num_threads: number of threads per graph; 0 is one per core.

    Raises:
        ModelError: if the folder is no exported reader, or a part is missing, damaged, of another version, or does not
            match the hashes in its card.
    """
    folder = SHIPPED_DIR if models_dir is None else find_reader(Path(models_dir))
    cards = load_cards(folder)
    references, ood_detector = _load_references(folder / "references", cards.references)
    graphs: dict[str, Graph | None] = dict.fromkeys(("classifier", "anomaly"))
    for part in graphs:
        card = getattr(cards, part)
        if card is not None:
            graphs[part] = graph = Graph(folder / part / MODEL_NAME, num_threads)
            graph.session  # noqa: B018 loads the graph, so that its errors are raised here
    return ModelSet(cards, references=references, ood_detector=ood_detector, **graphs)  # type: ignore[arg-type]


def find_reader(path: Path) -> Path:
    """Return the folder of an exported reader: `path`, or `reader` in the folder of a study.

    Raises:
        ModelError: if there is none; the message names the command that exports it.
    """
    for folder in (path, path / READER_NAME):
        if (folder / "classifier").is_dir():
            return folder
    if path.is_file() or (path / CARD_NAME).exists() or (path / "study.json").exists():
        raise ModelError(
            f"{path} is not an exported reader; export it with `pneumoscope export {path} --out READER` and open READER"
        )
    state = "holds no" if path.is_dir() else "does not exist; expected an"
    raise ModelError(f"{path} {state} exported reader, as written by `pneumoscope export`")


def load_cards(models_dir: Path) -> ModelCards:
    """Load the cards of a reader's models, None for a part that was left out; raises the errors of `load_card`."""
    classifier = load_card(ClassifierCard, models_dir / "classifier", kind="classifier")
    others: dict[str, Any] = {
        part: None if part in classifier.missing else load_card(card_type, models_dir / part, kind=part)
        for part, card_type in (("anomaly", AnomalyCard), ("references", ReferenceCard))
    }
    return ModelCards(classifier, **others)


def _load_references(folder: Path, card: ReferenceCard | None) -> tuple[ReferenceCases | None, OODDetector | None]:
    if card is None:
        return None, None
    arrays = _load_arrays(folder / REFERENCE_CASES_NAME)
    try:
        references = ReferenceCases(**{**arrays, "embeddings": arrays["embeddings"].astype(np.float32)})
        n, width = references.embeddings.shape
        require(all(len(values) == n for values in arrays.values()), f"arrays differ in length from {n} embeddings")
        check_shapes(references, names=(n,), patients=(n,), coordinates=(n, 2), embeddings=(n, width))
        if references.hashes is not None:
            check_shapes(references, hashes=(n, 4))
            require(references.hashes.dtype == np.uint64, f"hashes are {references.hashes.dtype}; expected uint64")
        if OOD_DETECTOR_NAME not in card.files:
            return references, None
        return references, OODDetector.from_arrays(_load_arrays(folder / OOD_DETECTOR_NAME))
    except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
        raise ModelError(f"{folder} has missing or unexpected arrays ({error}); export the models again") from None


def as_input(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return `(n, H, W)` uint8 images as input of a graph."""
    return {"image": images[..., None]}


def _read_graph(path: Path) -> bytes:
    """Return the content of an ONNX file that keeps all weights in itself.

    Weights in other files have an entry with the key `location` in `TensorProto.external_data`.
    """
    with open_regular(path) as stream:
        data = stream.read()
    if any(key in data for key in _LOCATION_KEYS):
        raise ModelError(f"{path} keeps weights in other files; expected one file with all weights: export it again")
    return data


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_arrays(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); export the models again") from None
