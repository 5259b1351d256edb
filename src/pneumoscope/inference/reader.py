"""Images to predictions: probabilities, decision, anomaly score, neighbors and maps."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image

from pneumoscope.errors import PneumoscopeError
from pneumoscope.inference.model_set import ModelSet, as_input, load_model_set
from pneumoscope.inference.reading import Reading, ReferenceCase
from pneumoscope.metrics.calibration import calibrate
from pneumoscope.metrics.conformal import choose_sets
from pneumoscope.models.receptive_field import Field, upsample
from pneumoscope.neighbors.search import EmbeddingIndex

OPERATING_POINTS = ("screening", "balanced", "specific")
NUM_NEIGHBORS = 5
NUM_VOTES = 15


@dataclass(frozen=True)
class ReadingMaps:
    """The maps behind a reading.

    Attributes:
        heatmaps: by layer `(classes, h, w)` float32, not negative: evidence for each class at each cell of the layer.
        anomaly_map: `(H, W)` float32 in [0, 1]: 0 is the median over all places in held-out normals, 1 their 99.9 %
            quantile or more.
        position: `(2,)` float32, on the map of reference cases.
    """

    heatmaps: dict[str, np.ndarray]
    anomaly_map: np.ndarray
    position: np.ndarray


class Reader:
    """Trained models, ready to read.

    Attributes:
        models: the models.
        layers: names of the convolutional layers, from the input on.
        trust: `heatmap_trust` and `subtype_trust`, how reliable heatmaps and bacterial against viral are, as text;
            empty where that was not measured.
        coverage: of the conformal sets of classes; None if the models have none.
    """

    def __init__(self, models: ModelSet) -> None:
        self.models = models
        card = models.cards.classifier
        self.layers = tuple(card.graph.layers)
        self._fields = {name: (Field(*grid.rows), Field(*grid.columns)) for name, grid in card.graph.layers.items()}
        self._fits = np.array([card.calibration.fitted, *card.calibration.resampled], dtype=np.float64)
        self.trust: dict[str, str] = {
            "heatmap_trust": card.explanation.verdict if card.explanation else "",
            "subtype_trust": card.subtypes.verdict if card.subtypes else "",
        }
        self.coverage: float | None = card.conformal.coverage if card.conformal else None
        self._limit: float = card.conformal.limit if card.conformal else np.nan
        self._normal_scores = np.sort(np.array(models.cards.anomaly.normal_scores, dtype=np.float64))
        self._patients: dict[str, set[str]] = {}  # by file name
        for name, patient in zip(models.references.names, models.references.patients, strict=True):
            self._patients.setdefault(PurePath(str(name)).name, set()).add(str(patient))
        self._index = EmbeddingIndex(models.references.embeddings, models.references.patients.tolist())

    @classmethod
    def open(cls, models_dir: str | os.PathLike[str] | None = None, *, num_threads: int = 0) -> "Reader":
        """Return a reader of some models, by default those that ship with the package.

        Raises:
            ModelError: if they are missing, damaged, or of another version.
        """
        return cls(load_model_set(models_dir, num_threads=num_threads))

    def threshold(self, operating_point: str) -> float:
        """Return the probability of pneumonia from which a case counts as one.

        Args:
            operating_point: `screening`, `balanced`, `specific`, or a number in (0, 1) as text.

        Raises:
            PneumoscopeError: if it is neither.
        """
        points = self.models.cards.classifier.operating_points
        if operating_point in points:
            return points[operating_point].threshold
        try:
            number = float(operating_point)
        except ValueError:
            number = np.nan
        if not 0 < number < 1:
            expected = f"{', '.join(points)}, or a number between 0 and 1"
            raise PneumoscopeError(f"the operating point is {operating_point!r}; expected {expected}")
        return number

    def read(
        self,
        images: np.ndarray,
        paths: Sequence[str],
        *,
        operating_point: str = "balanced",
        objections: Sequence[Sequence[str]] | None = None,
    ) -> list[Reading]:
        """Return the reading of each image.

        Args:
            images: `(n, size, size)` uint8, 0 = black.
            paths: `n` names. The patient of a reference case of the same file name is left out of the neighbors.
            operating_point: see `threshold`.
            objections: for each image, the reasons of its file's header to reject it.
        """
        threshold = self.threshold(operating_point)
        inputs = as_input(images)
        outputs, embeddings = self.models.answers.run(inputs, ["probabilities", "embedding"])
        (scores,) = self.models.scores.run(inputs, ["score"])
        checks = self.models.ood_detector.check(images)
        nearest = self._find_nearest(embeddings, paths, NUM_VOTES)
        calibrated = self._calibrate(outputs)
        readings = []
        for number, path in enumerate(paths):
            in_distribution, rejected, reason = checks[number]
            if objections and objections[number]:
                rejected, reason = True, " ".join(objections[number])
            values: dict[str, Any] = {"decision": "rejected", "in_distribution": False, "reason": reason}
            if not rejected:
                score = float(scores[number])
                values, doubt = self._decide(threshold, calibrated[number], *nearest[number])
                values |= {"anomaly_score": score, "anomaly_percentile": self._rank_score(score)}
                values |= {
                    "in_distribution": in_distribution,
                    "reason": " ".join(part for part in (reason, doubt) if part),
                }
            readings.append(Reading(path, operating_point, self.models.id, **values))
        return readings

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities of any images, without the OOD detector.

        Args:
            images: `(n, size, size)` uint8, 0 = black.

        Returns:
            `(n, classes)` float64; rows sum to 1.
        """
        (outputs,) = self.models.answers.run(as_input(images), ["probabilities"])
        return np.asarray(calibrate(outputs, self._fits[:1])[0])

    def choose_sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the conformal sets, `(n, classes)` bool, with the coverage of `coverage`.

        Args:
            probabilities: `(n, classes)` floats, as `score` returns them.

        Raises:
            PneumoscopeError: if the models have no conformal sets.
        """
        if self.coverage is None:
            raise PneumoscopeError("the card of these models holds no `conformal`; export them again to have sets")
        return choose_sets(probabilities, self._limit)

    def compute_maps(self, image: np.ndarray) -> ReadingMaps:
        """Return the maps behind the reading of one `(size, size)` uint8 image."""
        inputs = as_input(image[None])
        last = self.layers[-1]
        (embedding,) = self.models.answers.run(inputs, ["embedding"])
        gradient, heatmap = self.models.classifier.run(inputs, ["gradient", f"heatmap_{last}"])
        earlier = self._run_layers(inputs, gradient, self.layers[:-1])
        (cells,) = self.models.anomaly.run(inputs, ["map"])
        ((nearest, _),) = self._find_nearest(embedding, [""], NUM_NEIGHBORS)
        return ReadingMaps(
            heatmaps={layer: maps[0] for layer, maps in zip(self.layers, [*earlier, heatmap], strict=True)},
            anomaly_map=self._scale_anomaly(cells[0]),
            position=np.median(self.models.references.coordinates[nearest], axis=0),
        )

    def draw_heatmaps(self, images: np.ndarray, labels: Sequence[str], *, layer: str | None = None) -> np.ndarray:
        """Return the heatmap of one class for each image.

        Args:
            images: `(n, size, size)` uint8.
            labels: `n` class names, or `pneumonia` for its more probable subtype.
            layer: one of `layers`; the last by default.

        Returns:
            `(n, size, size)` float32 in [0, 1]; the largest value of each map is 1, or 0 for an empty map.
        """
        last = self.layers[-1]
        layer = layer or last
        inputs = as_input(images)
        (outputs,) = self.models.answers.run(inputs, ["probabilities"])
        gradient, maps = self.models.classifier.run(inputs, ["gradient", f"heatmap_{last}"])
        if layer != last:
            (maps,) = self._run_layers(inputs, gradient, (layer,))
        chosen = [
            1 + int(outputs[number, 1:].argmax()) if label == "pneumonia" else self.models.classes.index(label)
            for number, label in enumerate(labels)
        ]
        return upsample(maps[np.arange(len(maps)), chosen], *self._fields[layer], images.shape[1:])

    def describe_layer(self, layer: str) -> dict[str, Any]:
        """Return the receptive fields of a layer, `rows` and `columns`, each as `low`, `high` and `step` in pixels."""
        return {axis: vars(field) for axis, field in zip(("rows", "columns"), self._fields[layer], strict=True)}

    def _scale_anomaly(self, cells: np.ndarray) -> np.ndarray:
        low, high = self.models.cards.anomaly.map_scale
        side = self.models.image_size
        resized = Image.fromarray(cells).resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(np.clip((np.asarray(resized) - low) / (high - low), 0, 1))

    def _run_layers(
        self, inputs: dict[str, np.ndarray], gradient: np.ndarray, layers: tuple[str, ...]
    ) -> list[np.ndarray]:
        return self.models.layers.run({**inputs, "gradient": gradient}, [f"heatmap_{layer}" for layer in layers])

    def _decide(
        self, threshold: float, calibrated: np.ndarray, nearest: np.ndarray, distances: np.ndarray
    ) -> tuple[dict[str, Any], str]:
        """Return the decision with its evidence, by the names of `Reading`, and why it is uncertain, or nothing."""
        references, classes = self.models.references, self.models.classes
        rows = dict(zip((*classes, "pneumonia"), calibrated.tolist(), strict=True))
        probability, low, high = rows["pneumonia"]
        decision = "pneumonia" if probability >= threshold else "normal"
        doubt = _explain_doubt(decision, threshold, low, high, float((references.labels[nearest] > 0).mean()))
        values = {
            "decision": "uncertain" if doubt else decision,
            "probabilities": {name: value for name, (value, _, _) in rows.items()},
            "intervals": {name: (low, high) for name, (_, low, high) in rows.items()},
            "neighbors": tuple(
                ReferenceCase(str(references.names[index]), classes[references.labels[index]], distance, index)
                for index, distance in list(zip(nearest.tolist(), distances.tolist(), strict=True))[:NUM_NEIGHBORS]
            ),
        }
        return values, doubt

    def _calibrate(self, outputs: np.ndarray) -> np.ndarray:
        """Return `(n, classes + 1, 3)` float64: calibrated, low and high end, of each class and of pneumonia."""
        fitted = calibrate(outputs, self._fits)
        scored = np.concatenate([fitted, 1 - fitted[..., :1]], axis=2)
        low, high = np.quantile(scored[1:], [0.025, 0.975], axis=0)
        return np.stack([scored[0], np.minimum(low, scored[0]), np.maximum(high, scored[0])], axis=-1)

    def _rank_score(self, score: float) -> float:
        """Return the percentage of held-out normals with a smaller score."""
        return float(100 * np.searchsorted(self._normal_scores, score) / len(self._normal_scores))

    def _find_nearest(
        self, embeddings: np.ndarray, paths: Sequence[str], count: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each path the indices and distances of the nearest reference cases, nearest first.

        The patient of a reference case whose file has the same name is left out.
        """
        exclude = [self._patients.get(PurePath(path).name, ()) for path in paths]
        nearest, distances = self._index.search(embeddings, count, exclude=exclude)
        return [(rows[rows >= 0], gaps[rows >= 0]) for rows, gaps in zip(nearest, distances, strict=True)]


def _explain_doubt(decision: str, threshold: float, low: float, high: float, pneumonia_share: float) -> str:
    """Return why a decision is uncertain, or nothing."""
    if low < threshold <= high:
        return "The probability is too close to the threshold to be on one side of it for sure."
    if (decision == "pneumonia") != (pneumonia_share >= 0.5):
        others = "normals" if decision == "pneumonia" else "pneumonias"
        return f"Most of the nearest known images are {others}."
    return ""
