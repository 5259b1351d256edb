"""Trained models as ONNX, fit for reading without Keras: one model, or all that a reader needs of a study."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumoscope.classification.calibration_report import report_calibration, round_metrics
from pneumoscope.data.dataset import Dataset
from pneumoscope.data.source import hash_file
from pneumoscope.errors import ExportError, PneumoscopeError
from pneumoscope.export.graphs import export_answers, export_model_graph
from pneumoscope.inference.cards import (
    CARD_NAME,
    CARD_VERSIONS,
    PARTS,
    AnomalyCard,
    ClassifierCard,
    Explanation,
    ExportedModel,
    ModelGraph,
    ReferenceCard,
    SubtypeAudit,
    TrainingData,
)
from pneumoscope.inference.model_set import Graph, as_input
from pneumoscope.inference.ood import fit_ood_detector
from pneumoscope.io.json_file import parse_json, write_json
from pneumoscope.io.results import Evaluation
from pneumoscope.io.study_folder import Ledger, find_stage, list_other_seeds, load_stage, model_dir
from pneumoscope.labels import THREE_CLASSES
from pneumoscope.metrics.classification import evaluate_scores
from pneumoscope.models.card import TrainingRecord
from pneumoscope.phantoms.phantom import draw_phantoms, shows_phantoms
from pneumoscope.progress import log

if TYPE_CHECKING:
    from pneumoscope.models.saved_model import SavedModel

NUM_COMPARED = 8
MAP_SHARES = (0.5, 0.999)  # quantiles of the map over held-out normals that are drawn as 0 and as 1

Audit = TypeVar("Audit", Explanation, SubtypeAudit)


@dataclass(frozen=True)
class _Study:
    """The parts of a study that its export needs."""

    folder: Path
    configuration: str
    seed: int
    dataset: Dataset
    data: TrainingData


def export_model(model_dir: str | os.PathLike[str], out_dir: str | os.PathLike[str] | None = None) -> Path:
    """Export one trained model as ONNX, in float32 and in a smaller variant, with its card.

    Both files are compared with Keras on phantoms, one and four at a time; where an output differs nothing is kept.

    Args:
        model_dir: as `pneumoscope train` or a study leaves it.
        out_dir: where to; `export` below `model_dir` by default. An earlier export is replaced in one step.

    Returns:
        The folder: `model.onnx`, `model.float16.onnx`, for a classifier `layers.onnx`, `card.json`.

    Raises:
        ModelError: if there is no trained model.
        ExportError: if the outputs of the export differ from those of the model.
    """
    from pneumoscope.models.saved_model import load_model

    model_dir = Path(model_dir)
    target = Path(out_dir) if out_dir else model_dir / "export"
    with _replace_folder(target) as folder:
        bundle = load_model(model_dir, precision="float32")
        images = draw_phantoms(NUM_COMPARED, size=bundle.model.input_shape[1], seed=0).images
        graph = export_model_graph(bundle, model_dir, folder, images, keep_full=True)
        write_json(folder / CARD_NAME, _describe_model(bundle, graph, folder))
    return target


def export_study(
    study_dir: str | os.PathLike[str],
    dataset: Dataset,
    out_dir: str | os.PathLike[str],
    *,
    configuration: str = "improved",
    data_license: str = "not stated",
    explain_results: str | os.PathLike[str] | None = None,
    label_audit: str | os.PathLike[str] | None = None,
) -> Path:
    """Export all that a reader needs: classifier, anomaly detector, reference cases and OOD detector.

    Calibration, operating points, scores of normals and the limits of the OOD detector come from the study's validation
    images or held-out series; its test images are measured once at the end, for the card.

    Args:
        study_dir: folder that a study left.
        dataset: its images, split, as `pneumoscope.study.pipeline.reopen_study` returns them.
        out_dir: gets `classifier/`, `anomaly/`, `known/`. An earlier export is replaced in one step.
        configuration: of the models.
        data_license: terms of the training images, for the cards.
        explain_results: `explain.json` of `pneumoscope research explain`; the card then says how far to trust heatmaps.
        label_audit: `labels.json` of `pneumoscope research labels`; the card then says how far to trust bacterial
            against viral.

    Returns:
        `out_dir`, fit for `pneumoscope read --models`.

    Raises:
        PneumoscopeError: if the study has not finished this configuration, or a JSON file is missing, damaged or of
            other data.
        ExportError: if the outputs of an export differ from those of its model.
    """
    out_dir = Path(out_dir)
    study = _open_study(Path(study_dir), dataset, configuration, data_license)
    embedding_map = load_stage(study.folder, configuration, "map_three_class")
    coordinates = dict(zip(embedding_map.names.tolist(), embedding_map.coordinates, strict=True))
    explanation = _load_audit(Explanation, explain_results, study)
    subtypes = _load_audit(SubtypeAudit, label_audit, study)
    with _replace_folder(out_dir) as folder:
        embeddings = _export_classifier(study, folder / "classifier", explanation, subtypes)
        _export_anomaly(study, folder / "anomaly")
        _export_references(study, folder / "known", embeddings, coordinates)
    return out_dir


@contextmanager
def _replace_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to write to, which replaces `target` once all is written; `target` is new or an older export."""
    is_export = (target / CARD_NAME).exists() or (target / PARTS[0] / CARD_NAME).exists()
    if target.exists() and not is_export and not (target.is_dir() and not any(target.iterdir())):
        raise ExportError(f"{target} holds something else; expected a new folder, or an export to replace")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)


def _open_study(study_dir: Path, dataset: Dataset, configuration: str, data_license: str) -> _Study:
    request = Ledger.open(study_dir, resume=True).facts["request"]
    dataset = dataset.select(dataset.labels(THREE_CLASSES) >= 0)
    train = dataset.split("train").table
    data = TrainingData(
        sha256=request["data_sha256"],
        license=data_license,
        images=len(train),
        patients=int(train["patient"].nunique()),
        splits=_count_splits(dataset.table),
    )
    return _Study(study_dir, configuration, request["seed"], dataset, data)


def _count_splits(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return the number of images, of patients, and of images of each class, by split."""
    parts = {split: table[table["split"] == split] for split in ("train", "val", "test")}
    return {
        split: {
            "images": len(part),
            "patients": int(part["patient"].nunique()),
            **{name: int((part["subtype"] == name).sum()) for name in THREE_CLASSES},
        }
        for split, part in parts.items()
    }


def _load_held_out(study_dir: Path, configuration: str) -> Evaluation | None:
    """Return predictions for series of file names by models trained without them, where the study has some."""
    predictions: Evaluation | None = find_stage(study_dir, configuration, "held_out")
    return predictions


def _predict_other_seeds(study_dir: Path, configuration: str, dataset: Dataset) -> dict[int, NDArray[np.floating]]:
    """Return by seed the probabilities that models of other seeds predict, where the study trained some."""
    from pneumoscope.classification.classifier import predict_probabilities
    from pneumoscope.models.saved_model import load_model

    bundles = [load_model(folder, precision="float32") for folder in list_other_seeds(study_dir, configuration)]
    return {bundle.card.seed: predict_probabilities(bundle.model, dataset.images) for bundle in bundles}


def _load_audit(kind: type[Audit], path: str | os.PathLike[str] | None, study: _Study) -> Audit | None:
    if path is None:
        return None
    try:
        audit = parse_json(kind, Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PneumoscopeError(
            f"{path} cannot be read ({error}); expected a file of `pneumoscope research explain` or `research labels`"
        ) from None
    if audit.data_sha256 != study.data.sha256:
        raise PneumoscopeError(f"{path} was measured on other data or with another seed than {study.folder}")
    return replace(audit, figures=round_metrics(audit.figures))


def _export_classifier(
    study: _Study, folder: Path, explanation: Explanation | None, subtypes: SubtypeAudit | None
) -> NDArray[np.float32]:
    """Write the classifier with its card, and return its embeddings of all images."""
    bundle, graph, answers = _export_part(study, folder, "three_class")
    probabilities, embeddings = answers.run(as_input(study.dataset.images), ["probabilities", "embedding"])
    report = report_calibration(
        probabilities,
        study.dataset,
        study.seed,
        held_out=_load_held_out(study.folder, study.configuration),
        other_seeds=_predict_other_seeds(study.folder, study.configuration, study.dataset),
    )
    model = _describe_model(bundle, graph, folder)
    card = ClassifierCard(**vars(model), **vars(report), data=study.data, explanation=explanation, subtypes=subtypes)
    write_json(folder / CARD_NAME, card)
    return embeddings


def _export_anomaly(study: _Study, folder: Path) -> None:
    """Write the anomaly detector with its card: scores and maps of held-out normals, and metrics on test."""
    bundle, graph, answers = _export_part(study, folder, "anomaly")
    val, test = study.dataset.split("val"), study.dataset.split("test")
    normals = val.select(val.labels(THREE_CLASSES) == 0)
    normal_scores, scores = (answers.run(as_input(part.images), ["score"])[0] for part in (normals, test))
    (maps,) = Graph(folder / graph.file).run(as_input(normals.images), ["map"])
    low, high = np.quantile(maps, MAP_SHARES).astype(float).round(8).tolist()
    labels, patients = (test.labels(THREE_CLASSES) > 0).astype(int), test.table["patient"].to_numpy().astype(str)
    metrics = evaluate_scores(labels, scores, bundle.card.thresholds or {}, patients=patients)
    card = AnomalyCard(
        **vars(_describe_model(bundle, graph, folder)),
        normal_scores=tuple(np.sort(normal_scores).astype(float).round(8).tolist()),
        map_scale=(low, high),
        figures={"test": round_metrics(metrics)},
        data=study.data,
    )
    write_json(folder / CARD_NAME, card)


def _export_references(
    study: _Study, folder: Path, embeddings: NDArray[np.float32], coordinates: dict[str, NDArray[np.floating]]
) -> None:
    """Write the reference cases and the OOD detector with their card."""
    folder.mkdir()
    dataset = study.dataset
    train, val = dataset.rows("train"), dataset.rows("val")
    table = dataset.table.iloc[train]
    np.savez_compressed(
        folder / "known.npz",
        embeddings=embeddings[train].astype(np.float16),
        labels=dataset.labels(THREE_CLASSES)[train].astype(np.uint8),
        names=table["name"].to_numpy().astype(str),
        patients=table["patient"].to_numpy().astype(str),
        coordinates=np.stack([coordinates[name] for name in table["name"]]).astype(np.float32),
    )
    domain = fit_ood_detector(dataset.images[train], dataset.images[val], tell_drawn=not shows_phantoms(dataset))
    np.savez_compressed(folder / "domain.npz", **domain.to_arrays())
    card = ReferenceCard(
        card_version=CARD_VERSIONS["known"],
        kind="known",
        files=_hash_files(folder),
        classes=THREE_CLASSES,
        data=study.data,
    )
    write_json(folder / CARD_NAME, card)


def _export_part(study: _Study, folder: Path, name: str) -> "tuple[SavedModel, ModelGraph, Graph]":
    """Write the graphs of a study's model, and return the model, its graphs, and the one that predictions come from."""
    from pneumoscope.models.saved_model import load_model

    log.info("exporting the %s", folder.name)
    folder.mkdir()
    source_dir = model_dir(study.folder, study.configuration, name)
    bundle = load_model(source_dir, precision="float32")
    images = study.dataset.split("val").images[:NUM_COMPARED]
    graph = export_model_graph(bundle, source_dir, folder, images, keep_full=False)
    graph = export_answers(bundle, graph, folder, study.dataset)
    assert graph.answers_file is not None
    return bundle, graph, Graph(folder / graph.answers_file)


def _describe_model(bundle: "SavedModel", graph: ModelGraph, folder: Path) -> ExportedModel:
    """Return the card of a model whose files stand in `folder`."""
    kind = "anomaly" if bundle.card.embedding_layer is None else "classifier"
    record = {field.name: getattr(bundle.card, field.name) for field in fields(TrainingRecord)}
    return ExportedModel(
        **record,
        card_version=CARD_VERSIONS[kind],
        kind=kind,
        files=_hash_files(folder),
        architecture=bundle.card.architecture,
        parameters=bundle.card.parameters,
        input=bundle.card.input,
        keras=bundle.card.keras,
        graph=graph,
    )


def _hash_files(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path) for path in sorted(folder.iterdir())}
