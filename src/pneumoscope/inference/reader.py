"""Radiographs to predictions: decision, probabilities, anomaly score, nearest neighbors and heatmaps."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.decode import DecodedImage, decode_file
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
from pneumoscope.inference.checks import ImageChecks
from pneumoscope.inference.decision import (
    DEFAULT_THRESHOLD,
    NUM_NEIGHBORS,
    DecisionRule,
    choose_explained_class,
    describe_trust,
    find_thresholds,
)
from pneumoscope.inference.explanation import HeatmapExplanation, ReadingMaps, resize_heatmap, scale_map, shrink
from pneumoscope.inference.model_set import NO_HEATMAPS, ModelSet, as_input, load_model_set
from pneumoscope.inference.reading import Reading
from pneumoscope.metrics.conformal import choose_sets
from pneumoscope.models.receptive_field import Field, upsample


class Reader:
    """Pretrained models that predict, explain and embed chest radiographs.

    Inference uses ONNX Runtime on the CPU and does not load Keras. A reader can be shared by threads.

    Attributes:
        models: the models with their cards.
        has_heatmaps: whether the classifier has class activation maps.
        label_set: the classes.
        scored: the names with a probability: classes, groups, and the positive class.
        missing: why a part was left out of the export, by its name: `anomaly`, `references`, `ood_detector`, ...
        trust: notes on reliability as text. `heatmap_trust` is about heatmaps, `label_trust` about the labels inside a
            group, and `flag_trust` about the anomaly flag. A note is empty if reliability was not measured.
        coverage: coverage of the conformal prediction sets; None if the models have none.

    Example:
        >>> import pneumoscope as ps
        >>> reader = ps.Reader.open()
        >>> radiograph = ps.draw_phantoms(1, size=256, seed=0).images[0]
        >>> reading = reader.predict(radiograph)
        >>> reading.decision in (*reader.scored, "uncertain", "rejected")
        True
        >>> reader.explain(radiograph, label="pneumonia").heatmap.shape
        (256, 256)
    """

    def __init__(self, models: ModelSet, *, ignore_population: bool = False) -> None:
        self.models = models
        card = models.cards.classifier
        self.label_set, self.scored, self.missing = card.label_set, card.label_set.scored, card.missing
        grid = card.graph.heatmap
        self.has_heatmaps = grid is not None
        self._fields = (Field(*grid.rows), Field(*grid.columns)) if grid else None
        self._rule = DecisionRule(models)
        self._checks = ImageChecks(models, ignore_population=ignore_population)
        self.trust = describe_trust(models.cards)
        self.coverage: float | None = card.conformal.coverage if card.conformal else None
        self._limit: float = card.conformal.limit if card.conformal else np.nan

    @classmethod
    def open(
        cls,
        models_dir: str | os.PathLike[str] | None = None,
        *,
        num_threads: int = 0,
        ignore_population: bool = False,
    ) -> "Reader":
        """Return a reader of exported models, by default of those included in the package.

        Args:
            models_dir: exported reader, or a study that contains one; anything else is a `ModelError`.
            num_threads: threads of each model; 0 is one per core.
            ignore_population: whether to predict for patients and views outside of the population that the card states;
                such images are flagged. By default they are rejected.
        """
        return cls(load_model_set(models_dir, num_threads=num_threads), ignore_population=ignore_population)

    def thresholds(self, operating_point: str | float) -> dict[str, float]:
        """Return the threshold of the positive class, if any, or of each finding of a multi-label model.

        A case counts as positive when `probability >= threshold`.

        Args:
            operating_point: `screening`, `balanced`, `specific`, or a threshold in (0, 1) for all names; anything else
                is a `PneumoscopeError`.
        """
        return find_thresholds(self.models.cards.classifier, operating_point)

    def threshold(self, operating_point: str | float, name: str | None = None) -> float:
        """Return the threshold of one name, by default of the positive class; 0.5 if it has none."""
        return self.thresholds(operating_point).get(name or self.label_set.positive or "", DEFAULT_THRESHOLD)

    def describe(self, reading: Reading) -> dict[str, Any]:
        """Return what a picture or a report of a reading states.

        These are the values of `Reading.to_row`, the notes of `trust`, `label_set`, `thresholds` by name, and
        `explained`, the class of the heatmap (empty if the image is rejected).
        """
        labels, shares = self.label_set, reading.probabilities
        return {
            **reading.to_row(),
            **self.trust,
            "label_set": labels,
            "thresholds": self.thresholds(reading.operating_point),
            "explained": choose_explained_class(labels, reading.decision, shares) if shares else "",
        }

    def refuse(self, path: str, operating_point: str | float, error: str) -> Reading:
        """Return the reading of a file that cannot be read."""
        return Reading(path, str(operating_point), self.models.id, error=error, scored=self.scored)

    def redecide(self, reading: Reading, operating_point: str | float) -> Reading:
        """Return a reading of these models at another operating point (see `thresholds`) without running them again."""
        return self._rule.redecide(reading, self.thresholds(operating_point), str(operating_point))

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

        Files are decoded in threads; `read_files` reads thousands of files in bounded memory.

        Args:
            source: one radiograph (path, bytes, PIL image, or uint8 array; see `load_image`), or an iterable of them.
            operating_point: see `threshold`.

        Returns:
            One `Reading` for one radiograph. For many, a list in their order; a radiograph that cannot be read gets a
            reading whose `error` says why.

        Raises:
            ImageError: if a single radiograph cannot be read.
            PneumoscopeError: if there is no such operating point.
        """
        self.thresholds(operating_point)
        sources = list_inputs(source)
        names = [name_input(item) for item in sources]
        with ThreadPoolExecutor() as pool:
            outcomes = list(pool.map(partial(decode_file, size=self.models.image_size), sources))
        if is_one_input(source) and isinstance(outcomes[0], str):
            raise ImageError(f"{names[0] or 'image'}: {outcomes[0]}")
        readings = self.predict_decoded(outcomes, names, operating_point)
        return readings[0] if is_one_input(source) else readings

    def predict_decoded(
        self,
        outcomes: Sequence[DecodedImage | str],
        names: Sequence[str],
        operating_point: str | float = "balanced",
    ) -> list[Reading]:
        """Predict for results of `decode_file`; an unreadable image gets a reading whose `error` says why.

        Args:
            outcomes: decoded images, or the reasons why they cannot be read.
            names: their names. If a reference case has the same file name, its patient is excluded from the neighbors.
            operating_point: see `thresholds`.
        """
        images = [outcome for outcome in outcomes if not isinstance(outcome, str)]
        paths = [name for name, outcome in zip(names, outcomes, strict=True) if not isinstance(outcome, str)]
        readings = iter(self.predict_with_probabilities(images, paths, operating_point)[0] if images else ())
        return [
            self.refuse(name, operating_point, outcome) if isinstance(outcome, str) else next(readings)
            for name, outcome in zip(names, outcomes, strict=True)
        ]

    def predict_with_probabilities(
        self, images: Sequence[DecodedImage], names: Sequence[str], operating_point: str | float = "balanced"
    ) -> tuple[list[Reading], NDArray[np.float64]]:
        """Return the readings of one or more decoded images, and the calibrated probabilities of their classes.

        The probabilities, `(n, classes)` float64, are those of `compute_probabilities`, also of rejected images.
        """
        outputs = self._run(np.stack([image.pixels for image in images]), ("probabilities", "embedding"), ("score",))
        return self._decide(outputs, images, names, operating_point), self._rule.calibrate_classes(
            outputs["probabilities"]
        )

    @overload
    def explain(  # type: ignore[overload-overlap]
        self, source: ImageInput, *, label: str | None = None
    ) -> HeatmapExplanation: ...

    @overload
    def explain(self, source: Iterable[ImageInput], *, label: str | None = None) -> list[HeatmapExplanation]: ...

    def explain(
        self, source: ImageInput | Iterable[ImageInput], *, label: str | None = None
    ) -> HeatmapExplanation | list[HeatmapExplanation]:
        """Return the class activation map of one class for one or many radiographs.

        The OOD detector is not applied: check `Reading.decision` before you rely on a heatmap.

        Args:
            source: one radiograph or an iterable of radiographs, see `predict`.
            label: one of `scored`, a group by its most probable class; by default the positive class or else the most
                probable one.

        Returns:
            One explanation for one radiograph; for many, a list in their order.

        Raises:
            ImageError: if a radiograph cannot be read.
            PneumoscopeError: if there is no such class, or the classifier has no class activation maps.
        """
        sources = list_inputs(source)
        images = load_images(sources, size=self.models.image_size)
        explanations = []
        for item, image in zip(sources, images, strict=True):
            likeliest = self.label_set.classes[int(self.compute_probabilities(image[None])[0].argmax())]
            name = label or self.label_set.positive or likeliest
            radiograph = shrink(load_gray(item))
            heatmap = resize_heatmap(self.compute_heatmaps(image[None], [name])[0], radiograph)
            pixels = np.rint(255 * radiograph).astype(np.uint8)
            explanations.append(HeatmapExplanation(name_input(item), name, heatmap, pixels))
        return explanations[0] if is_one_input(source) else explanations

    def embed(self, sources: ImageInput | Iterable[ImageInput]) -> NDArray[np.float32]:
        """Return the embeddings of one or many radiographs, `(n, d)` float32; an unreadable one is an `ImageError`."""
        images = load_images(sources, size=self.models.image_size)
        if not len(images):
            shapes = {one.name: one.shape for one in self.models.classifier.session.get_outputs()}
            return np.empty((0, shapes["embedding"][1]), np.float32)
        return np.asarray(self.models.classifier.run(as_input(images), ["embedding"])[0], dtype=np.float32)

    def predict_images(
        self, images: np.ndarray, paths: Sequence[str], *, operating_point: str | float = "balanced"
    ) -> list[Reading]:
        """Predict for `(n, size, size)` uint8 images, 0 = black, with `n` names; see `predict_decoded`."""
        check_images(images, size=self.models.image_size)
        return self.predict_decoded([DecodedImage(image) for image in images], paths, operating_point)

    def predict_with_maps(
        self, image: DecodedImage, path: str, *, operating_point: str | float = "balanced"
    ) -> tuple[Reading, ReadingMaps]:
        """Return the reading of one decoded image and its maps; each model runs once."""
        names = ("probabilities", "embedding", *(["heatmaps"] if self.has_heatmaps else []))
        outputs = self._run(image.pixels[None], names, ("score", "map"))
        (reading,) = self._decide(outputs, [image], [path], operating_point)
        references, card = self.models.references, self.models.cards.anomaly
        ((nearest, _),) = self._rule.find_nearest(outputs["embedding"], [path], NUM_NEIGHBORS)
        return reading, ReadingMaps(
            heatmaps=outputs["heatmaps"][0] if self.has_heatmaps else None,
            anomaly_map=scale_map(outputs["map"][0], card.map_scale, len(image.pixels)) if card else None,
            position=None if references is None else np.median(references.coordinates[nearest], axis=0),
        )

    def _run(self, images: np.ndarray, names: Sequence[str], anomaly_names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return outputs of the classifier and, if there is one, of the anomaly detector, with the OOD features."""
        inputs, anomaly = self._as_input(images), self.models.anomaly
        outputs = dict(zip(names, self.models.classifier.run(inputs, list(names)), strict=True))
        if anomaly is not None:
            source, features = self.models.ood_source
            anomaly_names = (*anomaly_names, *([features] if source is anomaly else []))
            outputs |= dict(zip(anomaly_names, anomaly.run(inputs, list(anomaly_names)), strict=True))
        return outputs

    def _decide(
        self,
        outputs: dict[str, np.ndarray],
        images: Sequence[DecodedImage],
        paths: Sequence[str],
        operating_point: str | float,
    ) -> list[Reading]:
        checks, thresholds = self._checks.check(images, outputs), self.thresholds(operating_point)
        return self._rule.make_readings(outputs, images, checks, paths, thresholds, str(operating_point))

    def compute_probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, `(n, classes)` float64, without the OOD detector.

        Rows sum to 1 unless the classes are multi-label.

        Args:
            images: `(n, size, size)` uint8, 0 = black; another type or shape is an `ImageError`.
        """
        (outputs,) = self.models.classifier.run(self._as_input(images), ["probabilities"])
        return self._rule.calibrate_classes(outputs)

    def choose_sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the conformal prediction sets, `(n, classes)` bool. Their coverage is the attribute `coverage`.

        Args:
            probabilities: `(n, classes)` floats, as `compute_probabilities` returns them.

        Raises:
            PneumoscopeError: if the models have no conformal sets.
        """
        if self.coverage is None:
            why = "not defined for multi-label models" if self.label_set.multi_label else "no validation images"
            raise PneumoscopeError(f"the models have no conformal prediction sets ({why}); use the probabilities")
        return choose_sets(probabilities, self._limit)

    def compute_maps(self, image: np.ndarray) -> ReadingMaps:
        """Return the maps that belong to the reading of one `(size, size)` uint8 image."""
        return self.predict_with_maps(DecodedImage(image), "")[1]

    def compute_heatmaps(self, images: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return the class activation map of one class for each image.

        Args:
            images: `(n, size, size)` uint8.
            labels: `n` of `scored`, see `explain`.

        Returns:
            `(n, size, size)` float32 in [0, 1]. The largest value of each map is 1, or 0 if the map is empty.

        Raises:
            PneumoscopeError: see `explain`.
        """
        members = [self.label_set.members(label) for label in labels]
        if self._fields is None:
            raise PneumoscopeError(NO_HEATMAPS)
        outputs, maps = self.models.classifier.run(self._as_input(images), ["probabilities", "heatmaps"])
        columns = [[self.label_set.classes.index(name) for name in names] for names in members]
        chosen = [rows[int(output[rows].argmax())] for rows, output in zip(columns, outputs, strict=True)]
        return upsample(maps[np.arange(len(maps)), chosen], *self._fields, images.shape[1:])

    def describe_heatmaps(self) -> dict[str, Any]:
        """Return the receptive fields of the heatmaps: `low`, `high` and `step` in pixels, for `rows` and `columns`."""
        return {axis: vars(field) for axis, field in zip(("rows", "columns"), self._fields or (), strict=False)}

    def _as_input(self, images: np.ndarray) -> dict[str, np.ndarray]:
        check_images(images, size=self.models.image_size)
        return as_input(images)
