"""Trained models made fit for reading without Keras: one model as ONNX, or all that a reader needs out of a study."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pneumoscope import RESEARCH_USE_ONLY, __version__
from pneumoscope.errors import ExportError
from pneumoscope.evaluation.metrics import evaluate_scores
from pneumoscope.ledger import write_json
from pneumoscope.progress import log
from pneumoscope.radiographs.dataset import Dataset
from pneumoscope.radiographs.phantoms import draw_phantoms, shows_phantoms
from pneumoscope.radiographs.source import hash_file
from pneumoscope.reading.domain import fit_domain
from pneumoscope.reading.model_set import CARD_NAME, CARD_VERSIONS, PARTS, Graph, as_input
from pneumoscope.results import THREE_CLASSES
from pneumoscope.study_facts import ask_other_seeds, find_held_out, find_places, read_subtypes, read_verdict
from pneumoscope.tasks.judge import judge_classifier, plain_figures

if TYPE_CHECKING:
    import keras

    from pneumoscope.models.bundle import Bundle

FULL_NAME = "model.onnx"
SMALL_NAME = "model.float16.onnx"
LAYERS_NAME = "layers.onnx"
ANSWERS_NAME = "answers.onnx"
INT8_NAME = "answers.int8.onnx"
NUM_COMPARED = 8
NUM_CALIBRATED = 400
MAP_SHARES = (0.5, 0.999)  # of all places in held-out normals: what maps show as none, and as most


def export_model(model_dir: str | os.PathLike[str], out_dir: str | os.PathLike[str] | None = None) -> Path:
    """Export one trained model as ONNX, in float32 and in a smaller variant, with its card.

    Both files are compared with Keras on phantoms, one and four at a time; where an answer differs nothing is kept.

    Args:
        model_dir: as `pneumoscope train` or a study leaves it.
        out_dir: where to; `export` below `model_dir` by default. What stands there is replaced in one step.

    Returns:
        The folder: `model.onnx`, `model.float16.onnx`, for a classifier `layers.onnx`, `card.json`.

    Raises:
        BundleError: if there is no trained model.
        ExportError: if the export does not answer as the model does.
    """
    from pneumoscope.models.bundle import load_bundle

    model_dir = Path(model_dir)
    with _written_whole(Path(out_dir) if out_dir else model_dir / "export") as folder:
        bundle = load_bundle(model_dir, precision="float32")
        images = draw_phantoms(NUM_COMPARED, size=bundle.model.input_shape[1], seed=0).images
        kind, facts = _export_graph(bundle, model_dir, folder, images, keep_full=True)
        _write_card(folder, kind, {**_training_facts(bundle), **facts})
    return Path(out_dir) if out_dir else model_dir / "export"


def export_study(
    study_dir: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    profile: str = "best",
    data_license: str = "not stated",
    explain_results: str | os.PathLike[str] | None = None,
    label_audit: str | os.PathLike[str] | None = None,
) -> Path:
    """Export all that a reader needs: classifier, model of normals, known images and their look.

    Calibration, operating points, the normals' scores and the limits of the look come from the study's validation
    images; its test images are measured once at the end, for the card.

    Args:
        study_dir: folder that a study left, with its radiographs still where they were.
        out_dir: gets `classifier/`, `anomaly/`, `known/`; what stands there is replaced in one step.
        profile: recipe of the models.
        data_license: terms of the training images, for the cards.
        explain_results: `explain.json` of `pneumoscope research explain`; the card then says how far to trust
            heat-maps.
        label_audit: `labels.json` of `pneumoscope research labels`; the card then says how far to trust bacterial
            against viral.

    Returns:
        `out_dir`, fit for `pneumoscope read --models`.

    Raises:
        PneumoscopeError: if the folder holds no finished study of this profile, or a file of results is missing or of
            other data.
        ExportError: if an export does not answer as its model does.
    """
    from pneumoscope.models.bundle import load_bundle
    from pneumoscope.study import reopen_study

    study_dir, out_dir = Path(study_dir), Path(out_dir)
    request, dataset = reopen_study(study_dir)
    dataset = dataset.select(dataset.labels(THREE_CLASSES) >= 0)
    places = find_places(study_dir, profile)
    trust = read_verdict(explain_results, profile, request["data_sha256"])
    trust |= read_subtypes(label_audit, request["data_sha256"])
    with _written_whole(out_dir) as folder:
        cards: dict[str, dict[str, Any]] = {}
        for part, name in (("classifier", "three_class"), ("anomaly", "anomaly")):
            log.info("exporting the %s", part)
            (folder / part).mkdir()
            model_dir = study_dir / "models" / f"{profile}-{name}"
            bundle = load_bundle(model_dir, precision="float32")
            images = dataset.split("val").images[:NUM_COMPARED]
            _, graph = _export_graph(bundle, model_dir, folder / part, images, keep_full=False)
            cards[part] = {**_training_facts(bundle), **graph}
            cards[part]["graph"] |= _export_answers(bundle, folder / part, graph["graph"]["file"], dataset)
        log.info("measuring on validation and test")
        classifier, anomaly = (Graph(folder / part / card["graph"]["answers_file"]) for part, card in cards.items())
        pictures = Graph(folder / "anomaly" / cards["anomaly"]["graph"]["file"])
        outputs, embeddings = classifier.run(as_input(dataset.images), ["probabilities", "embedding"])
        cards["classifier"] |= trust
        cards["classifier"] |= judge_classifier(
            outputs,
            dataset,
            request["seed"],
            held_out=find_held_out(study_dir, profile),
            other_seeds=ask_other_seeds(study_dir, profile, dataset),
        )
        cards["anomaly"] |= _judge_anomaly(anomaly, pictures, dataset, cards["anomaly"]["thresholds"])
        cards["known"] = {"classes": list(THREE_CLASSES)}
        _write_known(folder / "known", embeddings, dataset, places)
        train = dataset.split("train").table
        for part, card in cards.items():
            card["data"] = {
                "sha256": request["data_sha256"],
                "license": data_license,
                "images": len(train),
                "patients": int(train["patient"].nunique()),
                "splits": _count_splits(dataset.table),
            }
            _write_card(folder / part, part, card)
    return out_dir


@contextmanager
def _written_whole(target: Path) -> Iterator[Path]:
    """Give a folder to write to; once all went well it takes the place of `target`, a new folder or an older export."""
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


def _export_graph(
    bundle: "Bundle", model_dir: Path, folder: Path, images: np.ndarray, *, keep_full: bool
) -> tuple[str, dict[str, Any]]:
    """Write the graph of a model in `model_dir` and return its kind and what its card says of the graph."""
    from pneumoscope.models.folding import fold_normalization
    from pneumoscope.models.graph import ClassifierGraph, LayersGraph, describe_layers
    from pneumoscope.models.onnx_file import export_graph, write_small

    net, full, small = bundle.model, folder / FULL_NAME, folder / SMALL_NAME
    inputs = {"image": images[..., None].astype(np.float32)}
    if "embedding_layer" not in bundle.card:
        answers = export_graph(_build_anomaly_graph(model_dir), full, inputs)
        return "anomaly", {"graph": {"file": FULL_NAME, "outputs": sorted(answers)}}
    folded, embedding = fold_normalization(net), bundle.card["embedding_layer"]
    whole = ClassifierGraph(net, embedding)
    answers = export_graph(ClassifierGraph(folded, embedding), full, inputs, reference=whole)
    write_small(full, small, inputs)
    if not keep_full:
        full.unlink()
    gradient = {**inputs, "gradient": answers["gradient"]}
    layers = folder / f"full.{LAYERS_NAME}"
    earlier = export_graph(LayersGraph(folded), layers, gradient, reference=LayersGraph(net))
    write_small(layers, folder / LAYERS_NAME, gradient)
    layers.unlink()
    graph = {
        "file": FULL_NAME if keep_full else SMALL_NAME,
        "outputs": sorted(answers),
        "layers_file": LAYERS_NAME,
        "layers_outputs": sorted(earlier),
        "layers": describe_layers(net),
    }
    return "classifier", {"graph": graph}


def _build_anomaly_graph(model_dir: Path) -> "keras.Model":
    from pneumoscope.models.graph import AutoencoderGraph, GaussianGraph
    from pneumoscope.tasks.anomaly.autoencoder import ReferenceAutoencoder
    from pneumoscope.tasks.anomaly.features import weigh_cells
    from pneumoscope.tasks.anomaly.registry import load_detector

    found, _ = load_detector(model_dir, precision="float32")
    if isinstance(found, ReferenceAutoencoder):
        return AutoencoderGraph(found.net)
    whole, single = (found.mean, found.whitening), (found.patch_mean, found.patch_whitening)
    source = found.source
    return GaussianGraph(source.net, source.join, weigh_cells(source), whole=whole, single=single)


def _count_splits(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return `images`, `patients`, and images of each class, by split."""
    return {
        split: {
            "images": len(part),
            "patients": int(part["patient"].nunique()),
            **{kind: int((part["subtype"] == kind).sum()) for kind in THREE_CLASSES},
        }
        for split in ("train", "val", "test")
        for part in [table[table["split"] == split]]
    }


def _export_answers(bundle: "Bundle", folder: Path, full_name: str, dataset: Dataset) -> dict[str, Any]:
    """Write the graph that answers come from, and return what the card says of it.

    It computes in whole numbers where that answers as float32 does on validation; the ranges come from train, and from
    its normals what rounding does to a score.
    """
    from pneumoscope.models.int8 import write_int8
    from pneumoscope.models.onnx_file import AGREEMENT, extract_answers, measure_agreement
    from pneumoscope.tasks.anomaly.int8_scores import correct_int8_score

    plain, small = folder / ANSWERS_NAME, folder / INT8_NAME
    train, val = dataset.split("train"), dataset.split("val")
    outputs = ["probabilities", "embedding"] if "embedding_layer" in bundle.card else ["score"]
    extract_answers(folder / full_name, plain, outputs)
    # Every class and both ends of the collection's order are among them.
    chosen = np.unique(np.linspace(0, len(train.images) - 1, NUM_CALIBRATED).astype(int))
    write_int8(plain, small, train.images[chosen])
    if outputs == ["score"]:
        correct_int8_score(small, plain, train.images[train.labels(THREE_CLASSES) == 0])
    found, expected = (
        dict(zip(outputs, Graph(path).run(as_input(val.images), outputs), strict=True)) for path in (small, plain)
    )
    agreement = measure_agreement(found, expected, val.labels(THREE_CLASSES))
    agrees = all(value <= AGREEMENT[name] for name, value in agreement.items())
    kept, dropped = (small, plain) if agrees else (plain, small)
    dropped.unlink()
    if not agrees:
        log.warning("the %s does not answer alike in whole numbers (%s); float32 is kept", bundle.model.name, agreement)
    return {
        "answers_file": kept.name,
        "answers_precision": "int8" if agrees else "float32",
        "agreement_of_int8": agreement,
    }


def _judge_anomaly(answers: Graph, pictures: Graph, dataset: Dataset, thresholds: dict[str, float]) -> dict[str, Any]:
    """Return the scores of held-out normals, what their maps show, and figures of test."""
    val, test = dataset.split("val"), dataset.split("test")
    normals = val.select(val.labels(THREE_CLASSES) == 0)
    normal_scores, scores = (answers.run(as_input(part.images), ["score"])[0] for part in (normals, test))
    (maps,) = pictures.run(as_input(normals.images), ["map"])
    labels, patients = (test.labels(THREE_CLASSES) > 0).astype(int), test.table["patient"].to_numpy().astype(str)
    figures = evaluate_scores(labels, scores, thresholds, patients=patients)
    return {
        "normal_scores": np.sort(normal_scores).astype(float).round(8).tolist(),
        "map_scale": np.quantile(maps, MAP_SHARES).astype(float).round(8).tolist(),
        "figures": {"test": plain_figures(figures)},
    }


def _write_known(folder: Path, embeddings: np.ndarray, dataset: Dataset, places: dict[str, np.ndarray]) -> None:
    folder.mkdir()
    train, val = dataset.rows("train"), dataset.rows("val")
    table = dataset.table.iloc[train]
    arrays = {
        "embeddings": embeddings[train].astype(np.float16),
        "labels": dataset.labels(THREE_CLASSES)[train].astype(np.uint8),
        "names": table["name"].to_numpy().astype(str),
        "patients": table["patient"].to_numpy().astype(str),
        "coordinates": np.stack([places[name] for name in table["name"]]).astype(np.float32),
    }
    np.savez_compressed(folder / "known.npz", **arrays)
    look = fit_domain(dataset.images[train], dataset.images[val], tell_drawn=not shows_phantoms(dataset))
    np.savez_compressed(folder / "domain.npz", **look.to_arrays())


def _write_card(folder: Path, kind: str, facts: dict[str, Any]) -> None:
    """Write `card.json`, which names the folder's files."""
    card = {
        "card_version": CARD_VERSIONS[kind],
        "notice": RESEARCH_USE_ONLY,
        "kind": kind,
        "pneumoscope": __version__,
        "files": {path.name: hash_file(path) for path in sorted(folder.iterdir())},
        **facts,
    }
    write_json(folder / CARD_NAME, card)


def _training_facts(bundle: "Bundle") -> dict[str, Any]:
    """Return what a card keeps of how a model was trained."""
    dropped = {"card_version", "notice", "weights_sha256", "pneumoscope"}
    return {name: value for name, value in bundle.card.items() if name not in dropped}
