"""Images to answers: what the classifier and the model of normals say, how sure that is, and what is alike."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
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
class Look:
    """The pictures behind a reading.

    Attributes:
        heatmaps: by layer `(classes, h, w)` float32, not negative: what spoke for each class, on the layer's cells.
        anomaly_map: `(H, W)` float32 in [0, 1], how odd each place is to the model of normals: 0 is what half of all
            places in held-out normals show, 1 what one in a thousand does, or more.
        position: `(2,)` float32, place on the map of known images.
    """

    heatmaps: dict[str, np.ndarray]
    anomaly_map: np.ndarray
    position: np.ndarray


class Reader:
    """Trained models, ready to read.

    Attributes:
        models: the models.
        layers: names of the convolutional layers, from the input on.
        trust: how far heat-maps of this classifier, `heatmap_trust`, and bacterial against viral, `subtype_trust`, are
            to be trusted, in a sentence or two each; empty where that was not measured.
        coverage: how often a set of classes promises to hold the true one; None where the models promise none.
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
        self._places: dict[str, list[int]] = {}
        for index, name in enumerate(models.known.names):
            self._places.setdefault(PurePath(str(name)).name, []).append(index)
        self._index = EmbeddingIndex(models.known.embeddings, models.known.patients.tolist())

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
        """Return the answer for each image.

        Args:
            images: `(n, size, size)` uint8, 0 = black.
            paths: `n` names. Where one is that of a known image, images of the same patient are no neighbors.
            operating_point: see `threshold`.
            objections: for each image, the reasons to refuse it that its file gave.
        """
        threshold = self.threshold(operating_point)
        inputs = as_input(images)
        shares, embeddings = self.models.answers.run(inputs, ["probabilities", "embedding"])
        (scores,) = self.models.scores.run(inputs, ["score"])
        verdicts = self.models.domain.judge(images)
        nearest = self._find_nearest(embeddings, paths, NUM_VOTES)
        calibrated = self._calibrate(shares)
        readings = []
        for number, path in enumerate(paths):
            in_domain, refused, reason = verdicts[number]
            told = partial(Reading, path, operating_point, self.models.id)
            against = list(objections[number]) if objections else []
            if refused or against:
                readings.append(told(decision="refused", in_domain=False, reason=" ".join(against) or reason))
            else:
                answer, doubt = self._answer(threshold, calibrated[number], *nearest[number])
                score = float(scores[number])
                readings.append(
                    told(
                        **answer,
                        anomaly_score=score,
                        anomaly_percentile=self._rank_score(score),
                        in_domain=in_domain,
                        reason=" ".join(part for part in (reason, doubt) if part),
                    )
                )
        return readings

    def score(self, images: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities of any images, those that `read` would refuse too.

        Args:
            images: `(n, size, size)` uint8, 0 = black.

        Returns:
            `(n, classes)` float64; rows sum to 1.
        """
        (outputs,) = self.models.answers.run(as_input(images), ["probabilities"])
        return calibrate(outputs, self._fits[:1])[0]

    def choose_sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return `(n, classes)` bool, the classes that each image may be of, where `coverage` is promised.

        Args:
            probabilities: `(n, classes)` floats, as `score` returns them.

        Raises:
            PneumoscopeError: if the models promise no coverage.
        """
        if self.coverage is None:
            raise PneumoscopeError("the card of these models holds no `conformal`; export them again to have sets")
        return choose_sets(probabilities, self._limit)

    def look(self, image: np.ndarray) -> Look:
        """Return the pictures behind the reading of one `(size, size)` uint8 image."""
        inputs = as_input(image[None])
        last = self.layers[-1]
        (embedding,) = self.models.answers.run(inputs, ["embedding"])
        gradient, heatmap = self.models.classifier.run(inputs, ["gradient", f"heatmap_{last}"])
        earlier = self._run_layers(inputs, gradient, self.layers[:-1])
        (cells,) = self.models.anomaly.run(inputs, ["map"])
        ((nearest, _),) = self._find_nearest(embedding, [""], NUM_NEIGHBORS)
        return Look(
            heatmaps={layer: maps[0] for layer, maps in zip(self.layers, [*earlier, heatmap], strict=True)},
            anomaly_map=self._draw_anomaly(cells[0]),
            position=np.median(self.models.known.coordinates[nearest], axis=0),
        )

    def draw_heatmaps(self, images: np.ndarray, labels: Sequence[str], *, layer: str | None = None) -> np.ndarray:
        """Return where a layer saw what spoke for a class.

        Args:
            images: `(n, size, size)` uint8.
            labels: `n` names, each one of the classes; for `pneumonia` the more probable kind is shown.
            layer: one of `layers`; the last by default.

        Returns:
            `(n, size, size)` float32 in [0, 1]; the largest value of each map is 1, or 0 where nothing spoke for it.
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
        """Return what the cells of a layer see, `rows` and `columns`, each as `low`, `high` and `step` in pixels."""
        return {axis: vars(field) for axis, field in zip(("rows", "columns"), self._fields[layer], strict=True)}

    def _draw_anomaly(self, cells: np.ndarray) -> np.ndarray:
        low, high = self.models.cards.anomaly.map_scale
        side = self.models.image_size
        drawn = Image.fromarray(cells).resize((side, side), Image.Resampling.BILINEAR)
        return np.clip((np.asarray(drawn) - low) / (high - low), 0, 1)

    def _run_layers(
        self, inputs: dict[str, np.ndarray], gradient: np.ndarray, layers: tuple[str, ...]
    ) -> list[np.ndarray]:
        return self.models.layers.run({**inputs, "gradient": gradient}, [f"heatmap_{layer}" for layer in layers])

    def _answer(
        self, threshold: float, calibrated: np.ndarray, nearest: np.ndarray, distances: np.ndarray
    ) -> tuple[dict[str, Any], str]:
        """Return the decision and what it comes from, as a `Reading` names them, and why it is not sure, or nothing."""
        known, classes = self.models.known, self.models.classes
        names, rows = (*classes, "pneumonia"), calibrated.tolist()
        probabilities = {name: value for name, (value, _, _) in zip(names, rows, strict=True)}
        intervals = {name: (low, high) for name, (_, low, high) in zip(names, rows, strict=True)}
        decision = "pneumonia" if probabilities["pneumonia"] >= threshold else "normal"
        doubt = _find_doubt(decision, threshold, intervals["pneumonia"], float((known.labels[nearest] > 0).mean()))
        neighbors = [
            ReferenceCase(str(known.names[index]), classes[known.labels[index]], distance, index)
            for index, distance in zip(
                nearest[:NUM_NEIGHBORS].tolist(), distances[:NUM_NEIGHBORS].tolist(), strict=True
            )
        ]
        answer = {
            "decision": "not sure" if doubt else decision,
            "probabilities": probabilities,
            "intervals": intervals,
            "neighbors": tuple(neighbors),
        }
        return answer, doubt

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
        """Return for each path the indices and distances of the nearest known images, nearest first.

        They are never of the patient of a known file, which is known by the last part of its path.
        """
        patients, places = self.models.known.patients, self._places
        exclude = [{str(patients[index]) for index in places.get(PurePath(path).name, ())} for path in paths]
        nearest, distances = self._index.search(embeddings, count, exclude=exclude)
        return [(rows[rows >= 0], gaps[rows >= 0]) for rows, gaps in zip(nearest, distances, strict=True)]


def _find_doubt(decision: str, threshold: float, interval: tuple[float, float], sick_share: float) -> str:
    """Return why a decision is not sure, or nothing."""
    if interval[0] < threshold <= interval[1]:
        return "The probability is too close to the threshold to be on one side of it for sure."
    if (decision == "pneumonia") != (sick_share >= 0.5):
        known = "normals" if decision == "pneumonia" else "pneumonias"
        return f"Most of the nearest known images are {known}."
    return ""
