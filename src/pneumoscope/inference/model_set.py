"""The models of a reader: a folder with three parts. Each part contains its files, `card.json` and `README.md`.

MODELS/
  classifier/   ONNX graphs: probabilities and embedding; heatmaps of each convolutional layer
  anomaly/      ONNX graphs: anomaly score of the normality model; anomaly map
  references/   reference cases: embeddings, labels, names and map positions of the training images; OOD detector
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

from pneumoscope.errors import ModelError
from pneumoscope.inference.cards import (
    MODEL_NAME,
    OOD_DETECTOR_NAME,
    PARTS,
    REFERENCE_CASES_NAME,
    AnomalyCard,
    ClassifierCard,
    ReferenceCard,
    load_card,
)
from pneumoscope.inference.ood import OODDetector
from pneumoscope.models.card import CARD_NAME

SHIPPED_DIR = Path(__file__).parents[1] / "weights"
BATCH_SIZE = 8


@dataclass(frozen=True)
class Graph:
    """An ONNX file, loaded on first use.

    Attributes:
        path: path of the file.
        num_threads: number of threads; 0 is one per core.
    """

    path: Path
    num_threads: int = 0

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
            return onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own classes
            version = onnxruntime.__version__
            raise ModelError(
                f"ONNX Runtime {version} cannot load {self.path} ({error}); export the models again or reinstall "
                "pneumoscope"
            ) from None

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Run the graph in batches of eight images, which bounds the memory.

        Args:
            inputs: arrays by input name.
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
                session.run(outputs, {name: values[start : start + BATCH_SIZE] for name, values in inputs.items()})
                for start in range(0, count, BATCH_SIZE)
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
        labels: `(n,)` int, index into the classes.
        names: `(n,)` str, paths relative to the root of the collection.
        patients: `(n,)` str.
        coordinates: `(n, 2)` float32, positions on the t-SNE map.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    patients: np.ndarray
    coordinates: np.ndarray


@dataclass(frozen=True)
class ModelCards:
    """The cards of a reader's models."""

    classifier: ClassifierCard
    anomaly: AnomalyCard
    references: ReferenceCard


@dataclass(frozen=True)
class ModelSet:
    """The models of a reader.

    Attributes:
        cards: cards of the three parts.
        classifier: graph of probabilities, embedding and heatmaps.
        anomaly: graph of anomaly score and anomaly map.
        references: the reference cases.
        ood_detector: the detector that flags or rejects out-of-distribution images.
    """

    cards: ModelCards
    classifier: Graph
    anomaly: Graph
    references: ReferenceCases
    ood_detector: OODDetector

    @cached_property
    def id(self) -> str:
        """Identity of the models: version of the exporting package, 8 digits of their hash, and the notice."""
        files = json.dumps([sorted(getattr(self.cards, part).files.items()) for part in PARTS])
        digest = hashlib.sha256(files.encode()).hexdigest()[:8]
        return f"pneumoscope-{self.cards.classifier.pneumoscope}-{digest} (research use only)"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the classifier's probabilities."""
        return self.cards.classifier.classes

    @property
    def image_size(self) -> int:
        """Side of the square input images, in pixels."""
        return self.cards.classifier.input.shape[0]


def load_model_set(models_dir: str | os.PathLike[str] | None = None, *, num_threads: int = 0) -> ModelSet:
    """Load the models that a reader needs.

    Args:
        models_dir: folder written by `pneumoscope export`; None loads the included models.
        num_threads: number of threads per graph; 0 is one per core.

    Raises:
        ModelError: if a part is missing, damaged, of another version, or does not match the hashes in its card.
    """
    folder = SHIPPED_DIR if models_dir is None else Path(models_dir)
    cards = load_cards(folder)
    arrays = _load_arrays(folder / "references" / REFERENCE_CASES_NAME)
    try:
        arrays["embeddings"] = arrays["embeddings"].astype(np.float32)
        references = ReferenceCases(**arrays)
        ood_detector = OODDetector.from_arrays(_load_arrays(folder / "references" / OOD_DETECTOR_NAME))
    except (TypeError, KeyError, ValueError) as error:
        raise ModelError(
            f"{folder / 'references'} has missing or unexpected arrays ({error}); export the models again"
        ) from None

    for part in ("classifier", "anomaly"):
        if MODEL_NAME not in getattr(cards, part).files:
            raise ModelError(f"{folder / part / CARD_NAME} does not name {MODEL_NAME}; export the models again")
    models = ModelSet(
        cards,
        classifier=Graph(folder / "classifier" / MODEL_NAME, num_threads),
        anomaly=Graph(folder / "anomaly" / MODEL_NAME, num_threads),
        references=references,
        ood_detector=ood_detector,
    )
    # Load both graphs, so that their errors are raised here.
    for graph in (models.classifier, models.anomaly):
        graph.session  # noqa: B018
    return models


def load_cards(models_dir: Path) -> ModelCards:
    """Load the three cards of a reader's models; raises the errors of `load_card`."""
    return ModelCards(
        classifier=load_card(ClassifierCard, models_dir / "classifier", kind="classifier"),
        anomaly=load_card(AnomalyCard, models_dir / "anomaly", kind="anomaly"),
        references=load_card(ReferenceCard, models_dir / "references", kind="references"),
    )


def as_input(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return `(n, H, W)` uint8 images as input of a graph."""
    return {"image": images[..., None].astype(np.float32)}


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ModelError(f"{path} cannot be read ({error}); export the models again") from None
