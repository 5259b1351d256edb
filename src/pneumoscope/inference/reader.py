"""Radiographs to predictions: decision, probabilities, anomaly score, nearest neighbors and heatmaps."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.data.image import (
    ImageInput,
    check_images,
    is_one_input,
    list_inputs,
    load_gray,
    load_images,
    name_input,
)
from pneumoscope.errors import ImageError, PneumoscopeError
from pneumoscope.inference.decision import NUM_NEIGHBORS, NUM_VOTES, DecisionRule
from pneumoscope.inference.decode import decode_file
from pneumoscope.inference.explanation import HeatmapExplanation, ReadingMaps, resize_heatmap, shrink
from pneumoscope.inference.model_set import ModelSet, as_input, load_model_set
from pneumoscope.inference.reading import Reading
from pneumoscope.metrics.calibration import calibrate
from pneumoscope.metrics.conformal import choose_sets
from pneumoscope.models.receptive_field import Field, upsample

OPERATING_POINTS = ("screening", "balanced", "specific")
NO_HEATMAPS = (
    "this classifier has no class activation maps, because it does not end in global average pooling and one Dense "
    "layer; `pneumoscope explain` draws heatmaps of the Keras model"
)


class Reader:
    """Pretrained models that predict, explain and embed chest radiographs.

    Inference uses ONNX Runtime on the CPU and does not load Keras. A reader can be shared by threads.

    Attributes:
        models: the models with their cards.
        has_heatmaps: whether the classifier has class activation maps; networks that do not end in global average
            pooling and one Dense layer have none.
        trust: notes on reliability as text. `heatmap_trust` is about heatmaps, `subtype_trust` about bacterial against
            viral pneumonia. A note is empty if reliability was not measured.
        coverage: coverage of the conformal prediction sets; None if the models have none.

    Example:
        >>> import pneumoscope as ps
        >>> reader = ps.Reader.open()
        >>> radiograph = ps.draw_phantoms(1, size=256, seed=0).images[0]
        >>> reading = reader.predict(radiograph)
        >>> reading.decision in ("normal", "pneumonia", "uncertain", "rejected")
        True
        >>> reader.explain(radiograph, label="pneumonia").heatmap.shape
        (256, 256)
    """

    def __init__(self, models: ModelSet) -> None:
        self.models = models
        card = models.cards.classifier
        grid = card.graph.heatmap
        self.has_heatmaps = grid is not None
        self._fields = (Field(*grid.rows), Field(*grid.columns)) if grid else None
        self._rule = DecisionRule(models)
        self.trust: dict[str, str] = {
            "heatmap_trust": card.explanation.verdict if card.explanation else "",
            "subtype_trust": card.subtypes.verdict if card.subtypes else "",
        }
        self.coverage: float | None = card.conformal.coverage if card.conformal else None
        self._limit: float = card.conformal.limit if card.conformal else np.nan

    @classmethod
    def open(cls, models_dir: str | os.PathLike[str] | None = None, *, num_threads: int = 0) -> "Reader":
        """Return a reader of exported models.

        Args:
            models_dir: folder written by `export_study`; None opens the models included in the package.
            num_threads: threads of each model; 0 is one per core.

        Raises:
            ModelError: if a model is missing, damaged, or of another version.
        """
        return cls(load_model_set(models_dir, num_threads=num_threads))

    def threshold(self, operating_point: str | float) -> float:
        """Return the threshold of an operating point.

        A case counts as pneumonia when `probability >= threshold`.

        Args:
            operating_point: `screening`, `balanced`, `specific`, or a threshold in (0, 1).

        Raises:
            PneumoscopeError: if there is no such operating point.
        """
        points = self.models.cards.classifier.operating_points
        if operating_point in points:
            return points[operating_point].threshold
        try:
            number = float(operating_point)
        except (TypeError, ValueError):
            number = np.nan
        if not 0 < number < 1:
            expected = f"{', '.join(points)}, or a number between 0 and 1"
            raise PneumoscopeError(f"the operating point is {operating_point!r}; expected {expected}")
        return number

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is an iterable of str, too
        self, source: ImageInput, *, operating_point: str | float = "balanced"
    ) -> Reading: ...

    @overload
    def predict(self, source: Iterable[ImageInput], *, operating_point: str | float = "balanced") -> list[Reading]: ...

    def predict(
        self, source: ImageInput | Iterable[ImageInput], *, operating_point: str | float = "balanced"
    ) -> Reading | list[Reading]:
        """Predict for one or many radiographs.

        Files are decoded in threads. For thousands of files, use the command `pneumoscope read`, which works in bounded
        memory.

        Args:
            source: one radiograph (path, bytes, PIL image, or uint8 array; see `load_image`), or an iterable of
                radiographs.
            operating_point: see `threshold`.

        Returns:
            One `Reading` for one radiograph. For many, a list in their order; a radiograph that cannot be read gets a
            reading whose `error` says why.

        Raises:
            ImageError: if a single radiograph cannot be read.
            PneumoscopeError: if there is no such operating point.
        """
        self.threshold(operating_point)
        sources = list_inputs(source)
        names = [name_input(item) for item in sources]
        with ThreadPoolExecutor() as pool:
            outcomes = list(pool.map(partial(decode_file, size=self.models.image_size), sources))
        errors = {number: outcome for number, outcome in enumerate(outcomes) if isinstance(outcome, str)}
        if errors and is_one_input(source):
            raise ImageError(f"{names[0] or 'image'}: {errors[0]}")
        model = self.models.id
        readings = {n: Reading(names[n], str(operating_point), model, error=error) for n, error in errors.items()}
        decoded = {number: outcome for number, outcome in enumerate(outcomes) if not isinstance(outcome, str)}
        if decoded:
            images, objections = zip(*decoded.values(), strict=True)
            stack, readable = np.stack(images), [names[number] for number in decoded]
            predictions = self.predict_images(stack, readable, operating_point=operating_point, objections=objections)
            readings |= dict(zip(decoded, predictions, strict=True))
        return readings[0] if is_one_input(source) else [readings[number] for number in range(len(sources))]

    @overload
    def explain(  # type: ignore[overload-overlap]
        self, source: ImageInput, *, label: str = "pneumonia"
    ) -> HeatmapExplanation: ...

    @overload
    def explain(self, source: Iterable[ImageInput], *, label: str = "pneumonia") -> list[HeatmapExplanation]: ...

    def explain(
        self, source: ImageInput | Iterable[ImageInput], *, label: str = "pneumonia"
    ) -> HeatmapExplanation | list[HeatmapExplanation]:
        """Return the class activation map of one class for one or many radiographs.

        The OOD detector is not applied: check `Reading.decision` before you rely on a heatmap.

        Args:
            source: one radiograph or an iterable of radiographs, see `predict`.
            label: a class of the models, or `pneumonia` for its more probable subtype.

        Returns:
            One explanation for one radiograph; for many, a list in their order.

        Raises:
            ImageError: if a radiograph cannot be read.
            PneumoscopeError: if there is no such class, or the classifier has no class activation maps.
        """
        self._check_label(label)
        sources = list_inputs(source)
        images = load_images(sources, size=self.models.image_size)
        explanations = []
        for item, image in zip(sources, images, strict=True):
            radiograph = shrink(load_gray(item))
            (heatmap,) = self.compute_heatmaps(image[None], [label])
            pixels = np.rint(255 * radiograph).astype(np.uint8)
            resized = resize_heatmap(heatmap, radiograph.shape)
            explanations.append(HeatmapExplanation(name_input(item), label, resized, pixels))
        return explanations[0] if is_one_input(source) else explanations

    def embed(self, sources: ImageInput | Iterable[ImageInput]) -> NDArray[np.float32]:
        """Return the embedding of one or many radiographs: `(n, d)` float32, as in `models.references.embeddings`.

        Args:
            sources: one radiograph or an iterable of radiographs, see `predict`.

        Raises:
            ImageError: if a radiograph cannot be read.
        """
        images = load_images(sources, size=self.models.image_size)
        if not len(images):
            return np.empty((0, self.models.references.embeddings.shape[1]), np.float32)
        return np.asarray(self.models.classifier.run(as_input(images), ["embedding"])[0], dtype=np.float32)

    def predict_images(
        self,
        images: np.ndarray,
        paths: Sequence[str],
        *,
        operating_point: str | float = "balanced",
        objections: Sequence[Sequence[str]] | None = None,
    ) -> list[Reading]:
        """Predict for decoded images.

        Args:
            images: `(n, size, size)` uint8, 0 = black.
            paths: `n` names. If a reference case has the same file name, its patient is excluded from the neighbors.
            operating_point: see `threshold`.
            objections: for each image, the reasons in its DICOM header to reject it.

        Raises:
            ImageError: if the images have another type or shape.
            PneumoscopeError: if there is no such operating point.
        """
        threshold = self.threshold(operating_point)
        inputs = self._as_input(images)
        outputs, embeddings = self.models.classifier.run(inputs, ["probabilities", "embedding"])
        (scores,) = self.models.anomaly.run(inputs, ["score"])
        checks = self.models.ood_detector.check(images)
        nearest = self._rule.find_nearest(embeddings, paths, NUM_VOTES)
        calibrated = self._rule.calibrate(outputs)
        readings = []
        for number, path in enumerate(paths):
            in_distribution, rejected, reason = checks[number]
            if objections and objections[number]:
                rejected, reason = True, " ".join(objections[number])
            values: dict[str, Any] = {"decision": "rejected", "in_distribution": False, "reason": reason}
            if not rejected:
                score = float(scores[number])
                values, doubt = self._rule.decide(threshold, calibrated[number], *nearest[number])
                values |= {"anomaly_score": score, "anomaly_percentile": self._rule.rank_score(score)}
                values |= {
                    "in_distribution": in_distribution,
                    "reason": " ".join(part for part in (reason, doubt) if part),
                }
            readings.append(Reading(path, str(operating_point), self.models.id, **values))
        return readings

    def compute_probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, without the OOD detector.

        Args:
            images: `(n, size, size)` uint8, 0 = black.

        Returns:
            `(n, classes)` float64; rows sum to 1.

        Raises:
            ImageError: if the images have another type or shape.
        """
        (outputs,) = self.models.classifier.run(self._as_input(images), ["probabilities"])
        return np.asarray(calibrate(outputs, self._rule.calibrations[:1])[0])

    def choose_sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the conformal prediction sets, `(n, classes)` bool. Their coverage is the attribute `coverage`.

        Args:
            probabilities: `(n, classes)` floats, as `compute_probabilities` returns them.

        Raises:
            PneumoscopeError: if the models have no conformal sets.
        """
        if self.coverage is None:
            raise PneumoscopeError("the model card has no `conformal`: export the models again to have prediction sets")
        return choose_sets(probabilities, self._limit)

    def compute_maps(self, image: np.ndarray) -> ReadingMaps:
        """Return the maps that belong to the reading of one `(size, size)` uint8 image."""
        inputs = self._as_input(image[None])
        names = ["embedding", "heatmaps"] if self.has_heatmaps else ["embedding"]
        embedding, *heatmaps = self.models.classifier.run(inputs, names)
        (anomaly_map,) = self.models.anomaly.run(inputs, ["map"])
        ((nearest, _),) = self._rule.find_nearest(embedding, [""], NUM_NEIGHBORS)
        return ReadingMaps(
            heatmaps=heatmaps[0][0] if heatmaps else None,
            anomaly_map=self._scale_anomaly(anomaly_map[0]),
            position=np.median(self.models.references.coordinates[nearest], axis=0),
        )

    def compute_heatmaps(self, images: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return the class activation map of one class for each image.

        Args:
            images: `(n, size, size)` uint8.
            labels: `n` class names, or `pneumonia` for its more probable subtype.

        Returns:
            `(n, size, size)` float32 in [0, 1]. The largest value of each map is 1, or 0 if the map is empty.

        Raises:
            ImageError: if the images have another type or shape.
            PneumoscopeError: if there is no such class, or the classifier has no class activation maps.
        """
        for label in labels:
            self._check_label(label)
        if self._fields is None:
            raise PneumoscopeError(NO_HEATMAPS)
        outputs, maps = self.models.classifier.run(self._as_input(images), ["probabilities", "heatmaps"])
        chosen = [
            1 + int(outputs[number, 1:].argmax()) if label == "pneumonia" else self.models.classes.index(label)
            for number, label in enumerate(labels)
        ]
        return upsample(maps[np.arange(len(maps)), chosen], *self._fields, images.shape[1:])

    def describe_heatmaps(self) -> dict[str, Any]:
        """Return the receptive fields of the heatmaps: `low`, `high` and `step` in pixels, for `rows` and `columns`."""
        return {axis: vars(field) for axis, field in zip(("rows", "columns"), self._fields or (), strict=False)}

    def _as_input(self, images: np.ndarray) -> dict[str, np.ndarray]:
        check_images(images, size=self.models.image_size)
        return as_input(images)

    def _check_label(self, label: str) -> None:
        labels = dict.fromkeys((*self.models.classes, "pneumonia"))
        if label not in labels:
            raise PneumoscopeError(f"there is no class {label!r}; expected one of {', '.join(labels)}")

    def _scale_anomaly(self, anomaly_map: np.ndarray) -> np.ndarray:
        low, high = self.models.cards.anomaly.map_scale
        side = self.models.image_size
        resized = Image.fromarray(anomaly_map).resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(np.clip((np.asarray(resized) - low) / (high - low), 0, 1))
