"""A fabricated study: consistent results from seeded random numbers, no model trained."""

import json

import numpy as np
import pandas as pd
import pytest

from pneumoscope.data.dataset import Dataset
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.io.archive import save_result
from pneumoscope.io.results import (
    AnomalyResult,
    Audit,
    Classification,
    Confounders,
    EmbeddingMap,
    Estimate,
    Evaluation,
    Explanation,
    Leakage,
    LearningCurve,
    Neighbors,
    OODCheck,
    OODKind,
)
from pneumoscope.labels import LabelSet
from pneumoscope.study.summary import summarize_study

FINDINGS = LabelSet(("Effusion", "Mass", "Pleural_Thickening"), "No Finding", multi_label=True)
MANY = LabelSet(("Saudável", *(f"Classe número {number}" for number in range(2, 21))), "Saudável")
LAYERS = ("conv_1", "conv_2", "conv_3")
FACTS = {
    "left_out": {},
    "settings": {
        "seed": 7,
        "epochs": 40,
        "reference": {"epochs": 40, "learning_rate": 1e-3, "augmentation": {"rotation": 0.0}},
        "improved": {"epochs": 40, "learning_rate": 1e-3, "augmentation": {"rotation": 7.5}, "balance": True},
    },
    "timing": {"load": 12.4, "audit": 30.0, "reference-binary": 312.0, "improved-binary": 401.0, "total": 770.0},
    "versions": {"python": "3.11.9", "pneumoscope": "0.1.0", "keras": "3.15.1", "backend": "tensorflow"},
    "hardware": {"processor": "a processor", "cores": 2, "memory_gib": 8.0, "precision": "mixed_bfloat16"},
}


def make_estimate(value, n, spread=0.03):
    return Estimate(float(value), float(max(value - spread, 0)), float(min(value + spread, 1)), n)


def make_labels(rng, count, num_classes):
    return np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, count - num_classes)])


def make_evaluation(rng, label_set, split, count, skill):
    classes = label_set.classes
    if label_set.multi_label:
        labels = rng.integers(-1, 2, (count, len(classes)))
        probabilities = 1 / (1 + np.exp(-rng.normal(skill * (labels - 0.5))))
        values = {"auroc": 0.8, "auprc": 0.7, "macro_f1": 0.6, "subset_accuracy": 0.4}
        values |= {f"auroc_{name}": 0.8 for name in classes}
        confusion = np.full((len(classes), 2, 2), count // 4)
    else:
        labels = make_labels(rng, count, len(classes))
        logits = rng.normal(size=(count, len(classes))) + skill * np.eye(len(classes))[labels]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
        np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
        recalls = np.diag(confusion) / confusion.sum(axis=1)
        precisions = np.diag(confusion) / np.maximum(confusion.sum(axis=0), 1)
        values = {"accuracy": np.trace(confusion) / count, "balanced_accuracy": recalls.mean()}
        for name, precision, recall in zip(classes, precisions, recalls, strict=True):
            values |= {f"precision_{name}": precision, f"recall_{name}": recall}
        values |= {"auroc": 0.5 + 0.45 * values["accuracy"], "auprc": 0.5 + 0.4 * values["accuracy"]}
    return Evaluation(
        split=split,
        label_set=label_set,
        labels=labels,
        probabilities=probabilities.astype(np.float32),
        patients=np.array([f"person{number // 2}" for number in range(count)]),
        names=np.array([f"{split}/image-{number}.jpeg" for number in range(count)]),
        metrics={name: make_estimate(value, count) for name, value in values.items()},
        confusion=confusion,
    )


def make_curve(rng, epochs=40, accuracy=True, chosen_epoch=31):
    falling = np.exp(-np.arange(epochs) / 8)
    loss, val_loss = 0.1 + 0.6 * falling, 0.2 + 0.5 * falling + 0.05 * rng.random(epochs)
    missing = np.full(epochs, np.nan)
    return LearningCurve(
        loss=loss,
        accuracy=1 - loss / 2 if accuracy else missing,
        val_loss=val_loss,
        val_accuracy=1 - val_loss / 2 if accuracy else missing,
        chosen_epoch=chosen_epoch,
        seconds=312.0,
    )


def make_classification(rng, label_set, count, skill):
    evaluations = {split: make_evaluation(rng, label_set, split, count, skill) for split in ("val", "test")}
    parameters = 3_404_674 if label_set.task == "binary" else 4_287_491
    return Classification(label_set, parameters, make_curve(rng), evaluations)


def make_neighbors(rng, label_set, dataset, count, skill):
    test, train = dataset.rows("test"), dataset.rows("train")
    queries = rng.choice(test, 6, replace=False)
    return Neighbors(
        k=9,
        k_scores={str(k): 0.8 - 0.01 * abs(k - 9) for k in (1, 3, 5, 9, 15, 25)},
        evaluations={split: make_evaluation(rng, label_set, split, count, skill) for split in ("val", "test")},
        agreement=make_estimate(0.93, count),
        model_right=12,
        knn_right=8,
        neither_right=1,
        queries=queries,
        nearest=np.stack([rng.choice(train, 5, replace=False) for _ in queries]),
        distances=np.sort(rng.uniform(1, 9, (6, 5)).astype(np.float32), axis=1),
    )


def make_map(rng, classes, num_train=300, num_test=60):
    origins = np.array(["train"] * num_train + ["test"] * num_test + ["new"] * 2)
    labels = rng.integers(0, len(classes), len(origins))
    labels[-2:] = -1
    coordinates = rng.normal(size=(len(origins), 2)) * 4 + 9 * np.stack([labels, labels % 2], axis=1)
    names = np.array([f"image-{number}.jpeg" for number in range(len(origins))])
    return EmbeddingMap(coordinates.astype(np.float32), labels, origins, names, classes, 0.94)


def make_anomaly(rng, dataset, count):
    labels = make_labels(rng, count, 2)
    errors = (0.004 + 0.003 * labels + rng.gamma(3, 0.0006, count)).astype(np.float32)
    validation = (0.004 + rng.gamma(3, 0.0006, count)).astype(np.float32)
    thresholds = {"quantile": float(np.quantile(validation, 0.95))}
    metrics = {"auroc": make_estimate(0.81, count), "auprc": make_estimate(0.86, count)}
    values = {"accuracy": 0.7, "f1": 0.72, "false_positive_rate": 0.16, "sensitivity": 0.66}
    metrics |= {
        f"{key}_{name}": make_estimate(value, count)
        for name in ("quantile", "one_sided", "two_sided")
        for key, value in values.items()
    }
    examples = dataset.rows("test")[:6]
    images = dataset.images[examples].astype(np.float32) / 255
    reconstructions = ((images + np.roll(images, 2, axis=1) + np.roll(images, 2, axis=2)) / 3).astype(np.float32)
    return AnomalyResult(
        parameters=52_067,
        curve=make_curve(rng, accuracy=False),
        thresholds=thresholds,
        false_positive_rate=0.05,
        validation_scores=validation,
        scores=errors,
        labels=labels,
        classes=np.where(labels == 1, "viral", "normal"),
        metrics=metrics,
        images=images,
        reconstructions=reconstructions,
        anomaly_maps=(images - reconstructions) ** 2,
        examples=examples,
    )


def make_explanation(rng, dataset, count, *, masks=False):
    test = dataset.rows("test")
    label_set = dataset.label_set if dataset.label_set.multi_label else dataset.label_set.binary()
    labels = dataset.labels(label_set)
    labels = labels.argmax(axis=1) if label_set.multi_label else labels
    examples = np.concatenate([test[labels[test] == number][:4] for number in (0, 1)])
    examples = examples[np.argsort(np.arange(len(examples)) % 4, kind="stable")]  # alternate
    images = dataset.images[examples].astype(np.float32) / 255
    size = images.shape[1]
    y, x = np.mgrid[:size, :size] / size
    centers = rng.uniform(0.25, 0.75, (len(examples), len(LAYERS), 2, 1, 1))
    heatmaps = np.exp(-((y - centers[:, :, 0]) ** 2 + (x - centers[:, :, 1]) ** 2) / 0.03).astype(np.float32)
    metrics = {
        "centrality_negative": Estimate(1.21, 1.17, 1.25, count // 3),
        "centrality_positive": Estimate(1.04, 1.01, 1.07, count - count // 3),
        "centrality_difference": Estimate(0.17, 0.12, 0.22, count),
    }
    if masks:
        metrics |= {"peak_in_lesion": make_estimate(0.71, 90), "lesion_area": make_estimate(0.08, 90)}
    maps = {name: rng.random((8 * 2**depth, size // 2**depth, size // 2**depth)) for depth, name in enumerate(LAYERS)}
    crops = images[0][None, None, : size // 4, : size // 4]
    return Explanation(
        layers=LAYERS,
        label_set=label_set,
        images=images,
        labels=labels[examples],
        decisions=np.where(np.arange(len(examples)) == 1, 0, labels[examples]),
        examples=examples,
        heatmaps=heatmaps,
        feature_maps={name: values.astype(np.float32) for name, values in maps.items()},
        patches={name: np.repeat(np.repeat(crops, 8, axis=0), 9, axis=1) for name in LAYERS},
        patch_filters={name: rng.permutation(32)[:8] for name in LAYERS},
        metrics=metrics,
    )


def count_images(label_set, counts):
    names = (f"{split}/{name}" for split in ("train", "test") for name in label_set.classes)
    return dict(zip(names, counts, strict=False))


def make_audit(unreadable=()):
    return Audit(
        counts=count_images(KERMANY_LABELS, (1341, 2530, 1345, 117, 127, 75)),
        patients={"train": 2700, "test": 300},
        negative_share={"train": 0.257, "test": 0.367},
        unreadable=list(unreadable),
        exact_duplicates=[["train/a.jpeg", "train/b.jpeg"]],
        near_duplicates=[["train/c.jpeg", "train/d.jpeg"]],
        shared_patients=[],
        shared_numbers=["person1", "person2"],
        sizes=[{"width": 224, "height": 224, "count": 5216}],
        exposure={"normal": [90.0, 110.0, 122.0, 131.0, 150.0], "pneumonia": [80.0, 105.0, 120.0, 130.0, 148.0]},
        notes=["Normals are rarer in train than in test."],
    )


def make_leakage(count):
    def measure(accuracy, balanced, suffix=""):
        values = {f"accuracy{suffix}": accuracy, f"balanced_accuracy{suffix}": balanced}
        return {name: make_estimate(value, count) for name, value in values.items()}

    random_split = measure(0.93, 0.91) | measure(0.9, 0.88, "_without_own_patient")
    return Leakage(412, 0.38, random_split, grouped_split=measure(0.88, 0.85))


def make_dataset(rng, size=32, label_set=KERMANY_LABELS):
    labels = np.array(label_set.classes)[np.arange(60) % len(label_set.classes)]
    table = pd.DataFrame(
        {
            "path": [f"/nowhere/{number}.jpeg" for number in range(60)],
            "name": [f"{number}.jpeg" for number in range(60)],
            "sha256": [f"{number:064d}" for number in range(60)],
            "label": np.where(np.arange(60) % 5 == 0, "", labels) if label_set.multi_label else labels,
            "uncertain": "",
            "patient": [f"person{number}" for number in range(60)],
            "split": np.repeat(["train", "val", "test"], 20),
        }
    )
    images = rng.integers(0, 256, (60, size, size), dtype=np.uint8)
    return Dataset(images, table, pd.DataFrame({"name": [], "reason": []}), label_set)


def make_stages(dataset, *, count=319, configurations=("reference", "improved"), unreadable=()):
    rng = np.random.default_rng(3)
    stages = {"audit": make_audit(unreadable), "leakage": make_leakage(count)}
    for configuration in configurations:
        skill = {"reference": 1.6, "improved": 2.6}[configuration]
        for task, label_set in dataset.label_set.tasks().items():
            stages[f"{configuration}-{task}"] = make_classification(rng, label_set, count, skill)
            stages[f"{configuration}-neighbors_{task}"] = make_neighbors(rng, label_set, dataset, count, skill)
            stages[f"{configuration}-map_{task}"] = make_map(rng, label_set.classes)
        stages[f"{configuration}-anomaly"] = make_anomaly(rng, dataset, count)
        stages[f"{configuration}-explain"] = make_explanation(rng, dataset, count, masks=dataset.masks is not None)
    return stages


def make_data(*, phantoms, skipped=0, label_set=KERMANY_LABELS):
    return {
        "source": "chest_xray",
        "label_set": label_set,
        "phantoms": phantoms,
        "counts": count_images(label_set, make_audit().counts.values()),
        "patients": {"train": 2700, "test": 300},
        "skipped": skipped,
        "sha256": "0" * 64,
    }


def leave_study(out_dir, stages, *, left_out=None, **data):
    """Write a folder as a study leaves it."""
    for name, result in stages.items():
        save_result(result, out_dir / "stages" / f"{name}.npz")
    facts = {**FACTS, "left_out": left_out or {}}
    results = summarize_study(stages, data=make_data(**{"phantoms": False, **data}), **facts)
    (out_dir / "results.json").write_text(json.dumps(results, allow_nan=False), encoding="utf-8")
    return out_dir


@pytest.fixture(scope="session")
def dataset():
    return make_dataset(np.random.default_rng(1))


@pytest.fixture(scope="session")
def stages(dataset):
    return make_stages(dataset)


@pytest.fixture(scope="session", params=[FINDINGS, MANY], ids=["findings", "twenty classes"])
def other_dataset(request):
    return make_dataset(np.random.default_rng(1), label_set=request.param)


@pytest.fixture(scope="session")
def other_stages(other_dataset):
    return make_stages(other_dataset, configurations=("improved",))


@pytest.fixture(scope="session")
def facts():
    return {"data": make_data(phantoms=False), **FACTS}


@pytest.fixture(scope="session")
def leave():
    return leave_study


def near(value, n=80):
    return Estimate(value, value - 0.02, value + 0.02, n)


def make_metrics(auroc, accuracy):
    return {"auroc": near(auroc), "accuracy": near(accuracy)}


@pytest.fixture(scope="session")
def confounders():
    changed = ("borders_hidden", "markers_hidden", "lungs_only", "lungs_hidden", "lung_area_hidden")
    return Confounders(
        split="test",
        threshold=0.6,
        metrics={"untouched": make_metrics(0.9, 0.8)} | {name: make_metrics(0.86, 0.71) for name in changed},
        differences={name: make_metrics(-0.04, -0.09) for name in changed},
        hidden={name: near(0.37) for name in changed},
        pixel_baselines={"exposure": make_metrics(0.55, 0.52), "borders": make_metrics(0.77, 0.7)},
    )


@pytest.fixture(scope="session")
def ood_check():
    def kind(name, origin, flagged, rejected, reason):
        return OODKind(name, origin, near(flagged), near(rejected), reason)

    return OODCheck(
        "val",
        (
            kind("images of the collection", "usual", 0.031, 0.0, ""),
            kind("noise", "learned", 1.0, 0.98, "This does not look like a frontal chest radiograph."),
            kind("<clouds>", "unseen", 0.66, 0.44, "The image looks tilted."),
        ),
    )
