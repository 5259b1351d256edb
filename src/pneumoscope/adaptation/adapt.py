"""Adapt an exported reader to another hospital with few labeled images."""

import hashlib
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pneumoscope.adaptation.last_layer import MAX_DIFFERENCE, read_last_layer, replace_last_layer
from pneumoscope.adaptation.local_fit import LastLayer, LocalFit, LocalImages, cross_validate_fit, fit_locally
from pneumoscope.classification.calibration_report import CONFORMAL_METHOD, round_metrics
from pneumoscope.data.label_options import LabelOptions
from pneumoscope.data.population import describe_population
from pneumoscope.data.source import hash_file
from pneumoscope.data.splits import check_contradictions, group_patients
from pneumoscope.errors import CollectionError, ModelError
from pneumoscope.evaluation.evaluate import find_seen_in_training
from pneumoscope.evaluation.gather import Gathered, Source, drop_training_images, gather_readings, load_images
from pneumoscope.evaluation.gather import open_collection as open_labeled
from pneumoscope.evaluation.predictor import Predictor, describe_model
from pneumoscope.export.reader import require_export_folder
from pneumoscope.inference.cards import MODEL_NAME, PARTS, Adaptation, ClassifierCard
from pneumoscope.inference.model_set import SHIPPED_DIR, Graph, as_input, find_reader
from pneumoscope.inference.reader import Reader
from pneumoscope.inference.reading import REJECTED
from pneumoscope.io.json_file import write_json
from pneumoscope.io.results import Estimate
from pneumoscope.io.results.calibration import Calibration, ConformalLimit, OperatingPoint
from pneumoscope.io.write import atomic_folder
from pneumoscope.metrics.calibration import calibrate
from pneumoscope.metrics.classification import evaluate_scores
from pneumoscope.metrics.conformal import COVERAGE, fit_conformal
from pneumoscope.models.card import CARD_NAME
from pneumoscope.progress import log
from pneumoscope.report.model_card import write_model_cards

REPORT_NAME = "adaptation.json"
MIN_IMAGES, MIN_PER_CLASS, MIN_PATIENTS = 20, 8, 5
MANY_IMAGES = 200
METHOD = "vector scaling of the earlier probabilities with a shared scale, classes weighted to stated frequencies"
# What the verdict is about: whether a higher value is better, and the name in a sentence.
_DECISIVE = {
    "auroc": (True, "AUROC"),
    "balanced_accuracy": (True, "balanced accuracy"),
    "calibration_error": (False, "expected calibration error"),
}


def adapt(
    source: Source,
    out_dir: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    options: LabelOptions | None = None,
    last_layer: bool = False,
    seed: int = 0,
) -> Adaptation:
    """Fit calibration and thresholds of an exported reader on 20 to 200 labeled images of another hospital.

    Images that the model was trained on, and those of a test split beside others, are left out. If every label is one
    of the model's classes and each class occurs, the classes are fitted; else only the decision between the negative
    and the positive classes, which leaves the odds between positive classes to a common scale and the reader without
    conformal sets. The OOD detector, the anomaly detector and the reference cases stay as they are.

    Args:
        source: folder, table or dataset, see `scan_collection`.
        out_dir: folder of the adapted reader; an existing export is replaced.
        model: exported reader or a study that contains one; None is the included models.
        options: how to read the labels of a folder or table.
        last_layer: also fit the last layer, a logistic regression on the embedding that is shrunk towards the old one.
            Class activation maps follow.
        seed: of folds and bootstrap.

    Returns:
        What was fitted, with cross-validated metrics before and after; also in the card and in `adaptation.json`.

    Raises:
        CollectionError: if there are fewer than 20 images, 8 of a class, or 5 patients of a class.
        ModelError: if the model is no exported reader of single labels with a negative class, was adapted before, or
            its last layer cannot be fitted.
        ExportError: if `out_dir` holds something else than an export.
        LabelError: if the classes do not match those of the model.

    Example:
        >>> import pneumoscope as ps
        >>> ps.adapt("local.csv", "reader-local", last_layer=True).verdict  # doctest: +SKIP
    """
    out_dir, base = Path(out_dir), SHIPPED_DIR if model is None else find_reader(Path(model))
    reader = Reader.open(base, num_threads=1)
    _check_reader(reader, base, out_dir)
    predictor = describe_model(reader)
    gathered, stack = _gather(predictor, source, options)
    images = _collect(reader, gathered, stack)
    if last_layer and reader.models.cards.classifier.mirror:
        images = replace(images, sides=_split_sides(reader, stack))
    _check_counts(images)
    if len(images.labels) > MANY_IMAGES:
        log.info("%d images are enough to train: compare with `pneumoscope train --init-from`", len(images.labels))
    log.info("fitting %d images of %d patients", len(images.labels), len(set(images.patients)))
    fit = fit_locally(images, last_layer=last_layer, seed=seed)
    threshold = reader.threshold("balanced")
    metrics = cross_validate_fit(images, threshold, last_layer=last_layer, seed=seed)
    adapted = _describe(reader, images, gathered.table, fit, metrics)
    card = _refit_card(reader.models.cards.classifier, images, fit, adapted, seed)
    card = replace(card, population=describe_population(gathered.table))
    with atomic_folder(out_dir) as folder:
        for part in filter(lambda one: (base / one).is_dir(), PARTS):
            shutil.copytree(base / part, folder / part)
        if fit.layer:
            path = folder / "classifier" / MODEL_NAME
            _write_layer(path, reader, fit.layer, images, stack)
            card = replace(card, files=card.files | {MODEL_NAME: hash_file(path)}, explanation=None)
        write_json(folder / "classifier" / CARD_NAME, card)
        write_json(folder / REPORT_NAME, {"notice": card.notice, **vars(adapted)})
        write_model_cards(folder)
    return adapted


def _check_reader(reader: Reader, base: Path, out_dir: Path) -> None:
    if reader.label_set.positive is None:
        raise ModelError(f"{base} has no negative class or several labels per image; expected a model with a decision")
    if reader.models.cards.classifier.adapted:
        raise ModelError(f"{base} was adapted before; expected the original reader, and all local images together")
    if out_dir.resolve() == base.resolve():
        raise ModelError(f"{out_dir} is the model itself; expected another output folder")
    require_export_folder(out_dir)


def _gather(predictor: Predictor, source: Source, options: LabelOptions | None) -> tuple[Gathered, np.ndarray]:
    """Return the local images with predictions, and their pixels `(n, size, size)` uint8."""
    collection = open_labeled(source, predictor.label_set, size=predictor.image_size, options=options)
    table, test = collection.table, collection.table["split"] == "test"
    if test.any() and not test.all():
        log.warning("%d images of the split test are left out: evaluate the adapted reader on them", test.sum())
        table = table[~test].reset_index(drop=True)
    table, _ = drop_training_images(predictor, table, remedy="")
    check_contradictions(table, predictor.label_set)
    gathered = gather_readings(predictor, table, collection.decode)
    for entry in gathered.unreadable:
        log.warning("left out: %s: %s", entry["name"], entry["reason"])
    seen = gathered.table["name"].isin(find_seen_in_training(predictor, gathered) or []).to_numpy()
    if seen.any():
        log.warning("%d images are left out: the model was trained on them or on copies", seen.sum())
    kept = gathered.table[~seen].reset_index(drop=True)
    if kept.empty:
        raise CollectionError(f"the model was trained on all {len(seen)} images; expected images of another hospital")
    rejected = int((gathered.images.decisions[~seen] == REJECTED).sum())
    if rejected:
        log.warning("the OOD detector, which is not adapted, rejects %d of %d images", rejected, len(kept))
    stack = load_images(collection, kept, len(kept), "Decoding").images
    return replace(gathered, table=kept, images=gathered.images.select(~seen)), stack


def _collect(reader: Reader, gathered: Gathered, stack: np.ndarray) -> LocalImages:
    evaluated, label_set = gathered.images, reader.label_set
    (embeddings,) = reader.models.classifier.run(as_input(stack), ["embedding"])
    num_classes = len(label_set.classes)
    members, labels = np.eye(num_classes), evaluated.labels
    if set(labels.tolist()) != set(range(num_classes)):
        negative = np.array([name == label_set.negative for name in label_set.classes])
        members, labels = np.stack([negative, ~negative]).astype(np.float64), evaluated.positive
        log.info("the labels do not name every class: %s or %s is adapted", label_set.negative, label_set.positive)
    patients = group_patients(gathered.table).astype(str)
    return LocalImages(label_set, evaluated.probabilities, embeddings.astype(np.float64), members, labels, patients)


def _split_sides(reader: Reader, stack: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return calibrated probabilities and embeddings of images and of their mirror images."""
    from scipy.special import softmax

    kernel, bias = read_last_layer(reader.models.classifier.path)
    fits = np.array([reader.models.cards.classifier.calibration.fitted])
    sides = []
    for images in (stack, stack[:, :, ::-1]):
        (embeddings,) = reader.models.classifier.run(as_input(images), ["embedding"])
        logits = embeddings.astype(np.float64) @ kernel + bias
        outputs = softmax(np.pad(logits, ((0, 0), (logits.shape[1] == 1, 0))), axis=1)
        sides.append((calibrate(outputs, fits)[0], embeddings.astype(np.float64)))
    return tuple(sides)


def _check_counts(images: LocalImages) -> None:
    names = _name_groups(images)
    counts = {name: int((images.labels == number).sum()) for number, name in enumerate(names)}
    patients = {name: len(set(images.patients[images.labels == number])) for number, name in enumerate(names)}
    smallest = (len(images.labels), min(counts.values()), min(patients.values()))
    if all(count >= least for count, least in zip(smallest, (MIN_IMAGES, MIN_PER_CLASS, MIN_PATIENTS), strict=True)):
        return
    came = ", ".join(f"{name} {counts[name]} of {patients[name]} patients" for name in names)
    rarest = min(counts, key=counts.__getitem__)
    remedy = f", or join classes, as --map '{rarest}={images.label_set.positive}'" if len(names) > 2 else ""
    raise CollectionError(
        f"{len(images.labels)} images can be used ({came}); expected {MIN_IMAGES} or more, with {MIN_PER_CLASS} images "
        f"and {MIN_PATIENTS} patients of each class. Add images{remedy}"
    )


def _name_groups(images: LocalImages) -> tuple[str, ...]:
    label_set = images.label_set
    return label_set.classes if len(images.members) == len(label_set.classes) else label_set.binary().classes


def _describe(
    reader: Reader, images: LocalImages, table: pd.DataFrame, fit: LocalFit, metrics: dict[str, dict[str, Estimate]]
) -> Adaptation:
    lines = sorted(f"{digest} {label}" for digest, label in zip(table["sha256"], table["label"], strict=True))
    counts = Counter(_name_groups(images)[label] for label in images.labels)
    refitted = ["calibration", "thresholds"]
    if fit.layer:
        refitted.append("last layer" if np.isfinite(fit.layer.strength) else "last layer (scale and offsets only)")
    return Adaptation(
        base=reader.models.id,
        refitted=tuple(refitted),
        images=len(table),
        patients=len(set(images.patients)),
        classes=dict(counts),
        data_sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        verdict=write_verdict(metrics),
        metrics={side: round_metrics(values) for side, values in metrics.items()},
        sha256=tuple(sorted(set(table["sha256"]))),
    )


def write_verdict(metrics: dict[str, dict[str, Estimate]]) -> str:
    """Return in one or two sentences whether an adaptation helps, see `compare_metrics`."""
    better: list[str] = []
    worse: list[str] = []
    for name, (is_higher_better, title) in _DECISIVE.items():
        difference = metrics["difference"][name]
        if difference.low > 0 or difference.high < 0:
            (better if (difference.low > 0) == is_higher_better else worse).append(title)
    text = f"The adaptation improves the {' and the '.join(better)}." if better else ""
    text = text or "The adaptation does not help: no metric improves by more than its 95 % interval."
    if worse:
        text += f" It worsens the {' and the '.join(worse)}."
    if not metrics["after"]["auroc"].low > 0.5:
        text += " The AUROC does not differ from chance: do not use the model on such images."
    return text


def _refit_card(
    card: ClassifierCard, images: LocalImages, fit: LocalFit, adapted: Adaptation, seed: int
) -> ClassifierCard:
    label_set, chosen = images.label_set, f"{adapted.images} local images, {adapted.patients} patients"
    fits = fit.calibration
    if fit.layer is None:  # calibrate the earlier calibration: one scale and one offset per class again
        old = np.array(card.calibration.fitted)
        fits = np.concatenate([fits[:, :1] * old[0], fits[:, :1] * old[1:] + fits[:, 1:]], axis=1)
    parameters = tuple(tuple(row) for row in fits.round(6).tolist())
    positive, scores = images.positive.astype(int), label_set.score_positive(fit.held_out)
    measured = round_metrics(evaluate_scores(positive, scores, fit.thresholds, patients=images.patients, seed=seed))
    points = {
        name: {
            str(label_set.positive): OperatingPoint(
                threshold, measured[f"sensitivity_{name}"], measured[f"false_positive_rate_{name}"]
            )
        }
        for name, threshold in fit.thresholds.items()
    }
    conformal = None
    if len(images.members) == len(label_set.classes):
        limit = fit_conformal(images.labels, fit.held_out)
        conformal = ConformalLimit(CONFORMAL_METHOD, COVERAGE, chosen, limit=limit)
    return replace(
        card,
        calibration=Calibration(
            METHOD, chosen, parameters[0], parameters[1:], frequencies=tuple(label_set.prior.tolist())
        ),
        conformal=conformal,
        operating_points=points,
        operating_points_from=chosen,
        metrics={},
        seeds=None,
        missing={name: reason for name, reason in card.missing.items() if name != "calibration"},
        adapted=adapted,
    )


def _write_layer(path: Path, reader: Reader, layer: LastLayer, images: LocalImages, stack: np.ndarray) -> None:
    """Replace the last layer of an ONNX file, and compare the old and the new one with their formula."""
    kernel, bias = read_last_layer(path)
    is_single = kernel.shape[1] == 1
    if is_single:
        kernel, bias = (np.concatenate([np.zeros_like(one), one], axis=-1) for one in (kernel, bias))
    fitted = np.array(reader.models.cards.classifier.calibration.fitted)
    scale, offsets = layer.scale * fitted[0], layer.scale * fitted[1:] + layer.offsets
    new_kernel, new_bias = scale * kernel + layer.kernel, scale * bias + offsets
    written = (new_kernel, new_bias)
    if is_single:
        written = (new_kernel[:, 1:] - new_kernel[:, :1], new_bias[1:] - new_bias[:1])
    replace_last_layer(path, *written)
    expected = layer.predict(images)
    graph, inputs = Graph(path, 1), as_input(stack)
    (actual,) = graph.run(inputs, ["probabilities"])
    difference = float(np.abs(actual - expected).max())
    if not difference <= MAX_DIFFERENCE:
        raise ModelError(
            f"the changed graph differs from the fit by {difference:.2g}; expected {MAX_DIFFERENCE:g} or less: the "
            "probabilities are no softmax of the last layer. Adapt without --last-layer"
        )
    if reader.has_heatmaps and np.isfinite(layer.strength):
        old, new = (one.run(as_input(stack[:1]), ["heatmaps"])[0] for one in (reader.models.classifier, graph))
        if np.allclose(old, new):
            raise ModelError("the class activation maps do not follow the last layer. Adapt without --last-layer")
