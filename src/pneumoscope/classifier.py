"""Train, open, use and evaluate a model in a few lines; the command line uses the same functions.

A model is a training run, a study, an exported reader, or a `.keras` or `.onnx` file.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from pneumoscope.data.dataset import Dataset, load_dataset
from pneumoscope.data.image import ImageInput, is_one_input, list_inputs, load_images, name_input
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.data.splits import split_dataset
from pneumoscope.errors import ModelError, TrainingError
from pneumoscope.inference.explanation import HeatmapExplanation
from pneumoscope.inference.reader import Reader
from pneumoscope.io.read import decode_json, read_text
from pneumoscope.io.study_folder import LEDGER_NAME, find_finest_model
from pneumoscope.labels import LabelSet
from pneumoscope.models.card import MODEL_NAME
from pneumoscope.models.settings import TrainingSettings, configuration_settings, override_settings
from pneumoscope.progress import log

DATA_NAME = "data.json"

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumoscope.inference.onnx_model import OnnxModel
    from pneumoscope.io.results import CollectionEvaluation
    from pneumoscope.models.saved_model import SavedModel


@dataclass(frozen=True)
class Prediction:
    """The prediction of a Keras model for one radiograph.

    Attributes:
        path: the file; empty for bytes, PIL images and arrays.
        probabilities: uncalibrated probability of each class, group and of the positive class.
        label: the most probable class; for several labels, those from 0.5 on, joined by `|`.
    """

    path: str
    probabilities: Mapping[str, float]
    label: str


@dataclass(frozen=True, repr=False)
class Heatmap(HeatmapExplanation):
    """The evidence for one class in one radiograph.

    Attributes:
        method: the explanation method.
        probabilities: see `Prediction.probabilities`.
    """

    method: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)

    def plot(self) -> "Figure":
        """Return a figure of the radiograph and of the heatmap over it."""
        from pneumoscope.report.figures.explain import draw_heatmaps

        return draw_heatmaps(self.image / 255, self.heatmap[None], (self.method,), title=self.label, alt=repr(self))


class Classifier:
    """A trained Keras classifier.

    Attributes:
        saved: the Keras model with its card.
        path: the training run or `.keras` file.
        dataset: the training data with splits, after `train`; else None.

    Example:
        >>> import pneumoscope as ps
        >>> model = ps.Classifier.open("runs/a")  # doctest: +SKIP
        >>> model.predict("x.dcm").probabilities  # doctest: +SKIP
        {'normal': 0.93, 'pneumonia': 0.07}
        >>> model.explain("x.png", method="gradcam").plot()  # doctest: +SKIP
    """

    def __init__(self, saved: "SavedModel", path: str | os.PathLike[str], dataset: Dataset | None = None) -> None:
        self.saved, self.path, self.dataset = saved, Path(path), dataset

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, label_set: LabelSet | None = None, preprocess: str | None = None
    ) -> "Classifier":
        """Open a training run, a study or a `.keras` file.

        Args:
            path: folder or file. Of a study, the model of its last configuration and finest task.
            label_set: classes of a `.keras` file, in the order of its outputs.
            preprocess: input of a `.keras` file: `0-1`, `minus-1-1`, `imagenet-torch`, `imagenet-caffe` or `none`.

        Raises:
            ModelError: if there is no Keras model, or the classes or the input of a `.keras` file are unknown.
        """
        from pneumoscope.models.saved_model import load_model

        folder = find_finest_model(Path(path)) if (Path(path) / LEDGER_NAME).exists() else Path(path)
        if (folder / "classifier").is_dir():
            raise ModelError(
                f"{folder} is an exported reader and has no Keras model; expected a training run, a study or a .keras "
                "file. `pneumoscope read --heatmaps` draws the class activation maps of a reader"
            )
        return cls(load_model(folder, label_set=label_set, preprocess=preprocess), folder)

    @property
    def label_set(self) -> LabelSet:
        """The classes."""
        if self.saved.card.label_set is None:
            raise ModelError(f"{self.path} is an anomaly detector; expected a classifier")
        return self.saved.card.label_set

    @property
    def size(self) -> int:
        """Side of the input images in pixels."""
        return self.saved.card.input.shape[0]

    def predict_images(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return `(n, classes)` float64 uncalibrated probabilities of `(n, size, size)` uint8 images."""
        from pneumoscope.models.prediction import predict_probabilities

        return predict_probabilities(self.saved.model, images, self.label_set, mirror=self.saved.card.mirror)

    @overload
    def predict(self, source: ImageInput) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, source: Iterable[ImageInput]) -> list[Prediction]: ...

    def predict(self, source: ImageInput | Iterable[ImageInput]) -> Prediction | list[Prediction]:
        """Predict for one or many radiographs: paths, bytes, PIL images or uint8 arrays.

        Raises:
            ImageError: if a radiograph cannot be read.
        """
        sources, labels = list_inputs(source), self.label_set
        probabilities = self.predict_images(load_images(sources, size=self.size))
        decisions = labels.decide(probabilities, dict.fromkeys(labels.classes, 0.5) if labels.multi_label else {})
        predictions = [
            Prediction(name_input(item), dict(zip(labels.scored, row.tolist(), strict=True)), str(decision))
            for item, row, decision in zip(sources, labels.score(probabilities), decisions, strict=True)
        ]
        return predictions[0] if is_one_input(source) else predictions

    def embed(self, sources: ImageInput | Iterable[ImageInput]) -> NDArray[np.float32]:
        """Return the embedding of one or many radiographs: `(n, d)` float32, the input of the last layer."""
        return self.embed_images(load_images(list_inputs(sources), size=self.size))

    def embed_images(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embedding of `(n, size, size)` uint8 images: `(n, d)` float32."""
        from pneumoscope.neighbors.knn import embed_images

        return embed_images(self.saved.model, images, layer=str(self.saved.card.embedding_layer))

    def explain(
        self, source: ImageInput, *, method: str = "hirescam", layer: str | None = None, label: str | None = None
    ) -> Heatmap:
        """Return the heatmap of one class for a radiograph.

        Args:
            source: the radiograph.
            method: a method of `pneumoscope.explain.methods`, such as `gradcam`, `hirescam` or `rise`.
            layer: layer of class activation maps; the last convolutional one by default.
            label: the class; the most probable one by default.

        Raises:
            ImageError: if the radiograph cannot be read.
            PneumoscopeError: if there is no such method, layer or class.
        """
        from pneumoscope.explain.files import explain_images

        (image,) = load_images([source], size=self.size)
        prediction = self.predict(image)
        label = label or max(self.label_set.classes, key=prediction.probabilities.__getitem__)
        heatmap = explain_images(self.saved, image[None], method=method, layer=layer, label=label)[0]
        return Heatmap(name_input(source), label, heatmap, image, method, prediction.probabilities)

    def export(
        self, out_dir: str | os.PathLike[str], *, dataset: Dataset | None = None, data_license: str = "not stated"
    ) -> Path:
        """Export to a folder that `Reader.open`, `pneumoscope read` and the app open.

        Args:
            out_dir: output folder; an existing export is replaced.
            dataset: the training data with splits; after `train` those of the training. Adds calibration, operating
                points, reference cases and the detector of out-of-distribution images.
            data_license: license of the training images, for the card.

        Raises:
            ExportError: if the model has no ONNX form, or the export predicts differently.
        """
        from pneumoscope.export.reader import Evidence, export_reader
        from pneumoscope.report.model_card import write_model_cards

        evidence = Evidence(data_license)
        written = export_reader(self.saved, out_dir, dataset=dataset or self.dataset, evidence=evidence)
        write_model_cards(written)
        return written


def train(
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    configuration: str | None = None,
    seed: int = 0,
    init_from: str | os.PathLike[str] | None = None,
    **flags: Any,
) -> Classifier:
    """Train a classifier on all classes of a dataset; the same call resumes a stopped training.

    Args:
        dataset: images; split by patient if they have no split, and decoded again if the settings have
            another size.
        out_dir: folder of the training run.
        configuration: basic settings: `reference`, `improved`, `default` (the default) or `large`.
        seed: random seed.
        init_from: training run or `.keras` file to fine-tune.
        flags: fields of `TrainingSettings`, such as `architecture="mobilenet"`, `size=160`, `epochs=5`.

    Raises:
        TrainingError: if a setting is unknown or a class is missing.
        CollectionError: if `size` is another than that of the images, and they are no files.

    Example:
        >>> import pneumoscope as ps
        >>> dataset = ps.split_dataset(ps.load_dataset("folder"), by="patient")  # doctest: +SKIP
        >>> model = ps.train(dataset, "runs/a", architecture="mobilenet", size=160)  # doctest: +SKIP
        >>> ps.evaluate(model, dataset.test).main_metrics()["auroc"]  # doctest: +SKIP
    """
    from pneumoscope.classification.classifier import train_classifier

    if not Path(dataset.table["path"].iloc[0]).is_file():  # images without files cannot be decoded at another size
        flags = {"size": dataset.images.shape[1], **flags}
    settings = choose_settings(configuration, **flags)
    if not len(dataset.val):
        dataset = split_dataset(dataset, seed=seed)
    dataset = dataset.at_size(settings.size)
    saved, _ = train_classifier(dataset, out_dir, settings=settings, seed=seed, init_from=init_from)
    return Classifier(saved, out_dir, dataset)


def evaluate(model: "Classifier | Reader", dataset: Dataset, *, seed: int = 0) -> "CollectionEvaluation":
    """Evaluate a model on all images of a dataset, with 95 % intervals by bootstrap over patients.

    Args:
        model: a classifier or a reader.
        dataset: labeled images, such as `dataset.test`.
        seed: seed of the bootstrap.

    Raises:
        LabelError: if the classes of the dataset do not match those of the model.
    """
    from pneumoscope.evaluation.evaluate import evaluate_models

    return evaluate_models(model, dataset, split="all", seed=seed)


def choose_settings(configuration: str | None, *, task: str | None = None, **flags: Any) -> TrainingSettings:
    """Return the settings of a configuration, with the flags that are not None in place of its own.

    Args:
        configuration: see `train`.
        task: `anomaly` for an anomaly detector, else of a classifier.
        flags: fields of `TrainingSettings`.

    Raises:
        TrainingError: if a flag is unknown, or the anomaly detector of the configuration is not trained.
    """
    from pneumoscope.study.settings import anomaly_settings

    configuration = configuration or "default"
    given = {name: value for name, value in flags.items() if value is not None}
    choose = anomaly_settings if task == "anomaly" else configuration_settings
    settings = choose(configuration, epochs=given.pop("epochs", None))
    if settings is None:
        raise TrainingError(f"the anomaly detector of the configuration {configuration} is not trained")
    return override_settings(settings, **given)


def open_model(
    path: str | os.PathLike[str] | None,
    *,
    label_set: LabelSet | None = None,
    preprocess: str | None = None,
    ignore_population: bool = False,
) -> "Reader | Classifier | OnnxModel":
    """Open a model of any kind to evaluate it.

    Args:
        path: exported reader, study (its exported reader), training run, `.keras` or `.onnx` file; None is the included
            models.
        label_set, preprocess: of a `.keras` or `.onnx` file, see `Classifier.open`.
        ignore_population: see `Reader.open`.

    Raises:
        ModelError: if there is no model.
    """
    from pneumoscope.inference.onnx_model import open_onnx

    if path is not None and Path(path).suffix.lower() == ".onnx":
        if label_set is None:
            raise ModelError(f"{path} has no card: name the classes of its outputs, with --classes a,b,c")
        return open_onnx(Path(path), label_set, preprocess=preprocess)
    if path is not None and (Path(path).is_file() or (Path(path) / MODEL_NAME).exists()):
        return Classifier.open(path, label_set=label_set, preprocess=preprocess)
    return Reader.open(path, num_threads=1, ignore_population=ignore_population)


def load_training_data(
    classifier: Classifier, source: str | os.PathLike[str] | None, options: LabelOptions
) -> Dataset | None:
    """Return the data of a classifier with its splits, for an export; None where they are not known.

    Args:
        classifier: the model.
        source: folder or table; by default the one that the command line trained on, if it is still there and
            unchanged.
        options: how to read the labels of `source`.
    """
    from pneumoscope.classification.classifier import hash_table, select_labeled

    card, path = classifier.saved.card, classifier.path
    record = (path.parent if path.name == MODEL_NAME else path) / DATA_NAME
    recorded = source is None and record.is_file()
    if recorded:
        try:
            values = decode_json(read_text(record))
            source, options = values["source"], LabelOptions(**values["labels"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{record} is damaged ({error}); delete it and name the data with --data") from None
    if source is None or (recorded and not Path(source).exists()):
        missing = f"{source}, the training data, is not there any more" if source else "the training data are not known"
        log.warning("%s; name them with --data", missing)
        return None
    dataset = split_dataset(load_dataset(source, size=classifier.size, options=options), seed=card.seed)
    if recorded and hash_table(select_labeled(dataset.train, classifier.label_set)) != card.training_data_sha256:
        log.warning("%s, the training data, changed after the training; name them with --data", source)
        return None
    return dataset
