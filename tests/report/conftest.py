"""A fabricated study from seeded random numbers, without a trained model, and a reader of pages."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.data.kermany import KERMANY_LABELS
from pneumoscope.io.archive import save_result
from pneumoscope.io.results import (
    AnomalyResult,
    Audit,
    Classification,
    EmbeddingMap,
    Estimate,
    Explanation,
    Leakage,
    LearningCurve,
    Neighbors,
)
from pneumoscope.labels import LabelSet
from pneumoscope.metrics.classification import evaluate, evaluate_scores
from pneumoscope.study.summary import summarize_study

FINDINGS = LabelSet(("Effusion", "Mass", "Pleural_Thickening"), "No Finding", multi_label=True)
MANY = LabelSet(("Saudável", *(f"Classe número {number}" for number in range(2, 21))), "Saudável")
LAYERS = ("conv_1", "conv_2", "conv_3")
COUNT = 319  # test images
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
VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """Source, tags, identifiers, links, images, headings and text of a page that works offline."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.ids, self.links, self.images, self.headings, self.open_tags = [], [], [], [], [], []
        self.text, self.source = "", path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.check()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag not in VOID:
            self.open_tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if tag == "a" else []
        self.images += [attributes] if tag == "img" else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open_tags):
            self.text += data

    def check(self):
        """Check that the page is well-formed, accessible and needs no network."""
        assert self.open_tags == []
        assert not {"link", "iframe", "object"} & set(self.tags)
        assert not re.search(r"<script src|srcset=|fetch\(|import\(|@import", self.source)
        assert "{{" not in self.text and "&#34;" not in self.text
        assert all(image["src"].startswith("data:image/") and len(image["alt"]) > 15 for image in self.images)
        assert "url(" not in re.sub(r'src="data:[^"]*"', "", self.source).replace("url(${address})", "")
        # A policy that allows scripts and styles by their hash allows no attribute with one.
        bare = re.sub(r"<script.*?</script>|\"data:[^\"]*\"", "", self.source, flags=re.DOTALL)
        assert not re.search(r"<[^>]*\s(style|on\w+)=", bare)
        assert len(self.ids) == len(set(self.ids))
        assert {link[1:] for link in self.links if link.startswith("#")} <= set(self.ids)
        assert self.headings.count(1) == self.headings[0] == 1
        assert all(below <= above + 1 for above, below in zip(self.headings, self.headings[1:], strict=False))
        assert RESEARCH_USE_ONLY in self.text
        assert all(text in self.source for text in ('lang="en"', 'name="viewport"', "prefers-color-scheme: dark"))
        assert "nan" not in re.findall(r"\w+", (self.text + str(self.images)).lower()) and "None" not in self.text


def make_estimate(value, n, spread=0.03):
    return Estimate(float(value), float(max(value - spread, 0)), float(min(value + spread, 1)), n)


def draw_predictions(rng, label_set, count, skill):
    """Return labels and probabilities of a classifier, which is better the greater `skill` is."""
    k = len(label_set.classes)
    if label_set.multi_label:
        labels = rng.integers(0, 2, (count, k))
        probabilities = 1 / (1 + np.exp(-(rng.normal(size=(count, k)) + skill * (labels - 0.5))))
        return np.where(rng.random((count, k)) < 0.1, -1, labels), probabilities
    labels = np.concatenate([np.arange(k), rng.integers(0, k, count - k)])
    scores = np.exp(rng.normal(size=(count, k)) + skill * np.eye(k)[labels])
    return labels, scores / scores.sum(axis=1, keepdims=True)


def make_evaluations(rng, label_set, skill):
    patients, names = zip(*((f"person{row // 2}", f"image-{row}.jpeg") for row in range(COUNT)), strict=True)
    return {
        split: evaluate(
            *draw_predictions(rng, label_set, COUNT, skill),
            label_set=label_set,
            split=split,
            patients=patients,
            names=names,
        )
        for split in ("val", "test")
    }


def make_curve(rng, *, accuracy=True):
    falling = np.exp(-np.arange(40) / 8)
    loss, val_loss = 0.1 + 0.6 * falling, 0.2 + 0.5 * falling + 0.05 * rng.random(40)
    rates = (1 - loss / 2, 1 - val_loss / 2) if accuracy else [np.full(40, np.nan)] * 2
    return LearningCurve(loss, rates[0], val_loss, rates[1], chosen_epoch=31, seconds=312.0)


def make_neighbors(rng, label_set, dataset, skill):
    queries = rng.choice(dataset.rows("test"), 6, replace=False)
    return Neighbors(
        k=9,
        k_scores={str(k): 0.8 - 0.01 * abs(k - 9) for k in (1, 3, 5, 9, 15, 25)},
        evaluations=make_evaluations(rng, label_set, skill),
        agreement=make_estimate(0.93, COUNT),
        model_right=12,
        knn_right=8,
        neither_right=1,
        queries=queries,
        nearest=np.stack([rng.choice(dataset.rows("train"), 5, replace=False) for _ in queries]),
        distances=np.sort(rng.uniform(1, 9, (6, 5)).astype(np.float32), axis=1),
    )


def make_map(rng, classes):
    origins = np.array(["train"] * 300 + ["test"] * 60 + ["new"] * 2)
    labels = rng.integers(0, len(classes), len(origins))
    labels[-2:] = -1
    coordinates = rng.normal(size=(len(origins), 2)) * 4 + 9 * np.stack([labels, labels % 2], axis=1)
    names = np.array([f"image-{number}.jpeg" for number in range(len(origins))])
    return EmbeddingMap(coordinates.astype(np.float32), labels, origins, names, classes, 0.94)


def make_anomaly(rng, dataset):
    labels = np.arange(COUNT) % 2
    errors = (0.004 + 0.003 * labels + rng.gamma(3, 0.0006, COUNT)).astype(np.float32)
    validation = (0.004 + rng.gamma(3, 0.0006, COUNT)).astype(np.float32)
    thresholds = {"quantile": float(np.quantile(validation, 0.95))}
    metrics = evaluate_scores(labels, errors, thresholds, patients=np.arange(COUNT).astype(str))
    reference = {
        f"{key}_{rule}": metrics[f"{key}_quantile"]
        for rule in ("one_sided", "two_sided")
        for key in ("accuracy", "f1", "false_positive_rate", "sensitivity")
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
        metrics=metrics | reference,
        images=images,
        reconstructions=reconstructions,
        anomaly_maps=(images - reconstructions) ** 2,
        examples=examples,
    )


def make_explanation(rng, dataset):
    test = dataset.rows("test")
    label_set = dataset.label_set if dataset.label_set.multi_label else dataset.label_set.binary()
    labels = dataset.labels(label_set)
    labels = labels.argmax(axis=1) if label_set.multi_label else labels
    examples = np.concatenate([test[labels[test] == number][:4] for number in (0, 1)])
    examples = examples[np.argsort(np.arange(len(examples)) % 4, kind="stable")]  # alternate
    images = dataset.images[examples].astype(np.float32) / 255
    size = images.shape[1]
    maps = {name: rng.random((8 * 2**depth, size // 2**depth, size // 2**depth)) for depth, name in enumerate(LAYERS)}
    crops = images[0][None, None, : size // 4, : size // 4]
    return Explanation(
        layers=LAYERS,
        label_set=label_set,
        images=images,
        labels=labels[examples],
        decisions=np.where(np.arange(len(examples)) == 1, 0, labels[examples]),
        examples=examples,
        heatmaps=rng.random((len(examples), len(LAYERS), size, size)).astype(np.float32),
        feature_maps={name: values.astype(np.float32) for name, values in maps.items()},
        patches={name: np.repeat(np.repeat(crops, 8, axis=0), 9, axis=1) for name in LAYERS},
        patch_filters={name: rng.permutation(32)[:8] for name in LAYERS},
        metrics={
            "centrality_negative": Estimate(1.21, 1.17, 1.25, COUNT // 3),
            "centrality_positive": Estimate(1.04, 1.01, 1.07, COUNT - COUNT // 3),
            "centrality_difference": Estimate(0.17, 0.12, 0.22, COUNT),
            "peak_in_lesion": make_estimate(0.71, 90),
            "lesion_area": make_estimate(0.08, 90),
        },
    )


def count_images(label_set):
    names = (f"{split}/{name}" for split in ("train", "test") for name in label_set.classes)
    return dict(zip(names, (1341, 2530, 1345, 117, 127, 75), strict=False))


def make_audit():
    return Audit(
        counts=count_images(KERMANY_LABELS),
        patients={"train": 2700, "test": 300},
        negative_share={"train": 0.257, "test": 0.367},
        unreadable=[],
        exact_duplicates=[["train/a.jpeg", "train/b.jpeg"]],
        near_duplicates=[["train/c.jpeg", "train/d.jpeg"]],
        shared_patients=[],
        shared_numbers=["person1", "person2"],
        sizes=[{"width": 224, "height": 224, "count": 5216}],
        exposure={"normal": [90.0, 110.0, 122.0, 131.0, 150.0], "pneumonia": [80.0, 105.0, 120.0, 130.0, 148.0]},
        notes=["Normals are rarer in train than in test."],
    )


def make_leakage():
    grouped = {"accuracy": make_estimate(0.88, COUNT), "balanced_accuracy": make_estimate(0.85, COUNT)}
    without = {f"{name}_without_own_patient": value for name, value in grouped.items()}
    return Leakage(412, 0.38, grouped | without, grouped)


def make_stages(dataset, configurations=("reference", "improved")):
    rng = np.random.default_rng(3)
    stages = {"audit": make_audit(), "leakage": make_leakage()}
    for configuration in configurations:
        skill = {"reference": 1.6, "improved": 2.6}[configuration]
        for task, label_set in dataset.label_set.tasks().items():
            evaluations, parameters = make_evaluations(rng, label_set, skill), 3_404_674
            stages[f"{configuration}-{task}"] = Classification(label_set, parameters, make_curve(rng), evaluations)
            stages[f"{configuration}-neighbors_{task}"] = make_neighbors(rng, label_set, dataset, skill)
            stages[f"{configuration}-map_{task}"] = make_map(rng, label_set.classes)
        stages[f"{configuration}-anomaly"] = make_anomaly(rng, dataset)
        stages[f"{configuration}-explain"] = make_explanation(rng, dataset)
    return stages


def make_data(*, phantoms=False, skipped=0, label_set=KERMANY_LABELS):
    return {
        "source": "chest_xray",
        "label_set": label_set,
        "phantoms": phantoms,
        "counts": count_images(label_set),
        "patients": {"train": 2700, "test": 300},
        "skipped": skipped,
        "sha256": "0" * 64,
    }


@pytest.fixture(scope="session")
def read_page():
    return Page


@pytest.fixture(scope="session")
def draw():
    return draw_predictions


@pytest.fixture(scope="session")
def dataset(phantoms):
    return replace(phantoms, images=phantoms.images[:, ::4, ::4], masks=None)


@pytest.fixture(scope="session")
def stages(dataset):
    return make_stages(dataset)


@pytest.fixture(scope="session", params=[FINDINGS, MANY], ids=["findings", "twenty classes"])
def other_study(request, dataset):
    labels = np.array(request.param.classes)[np.arange(len(dataset)) % len(request.param.classes)]
    if request.param.multi_label:
        labels[::5] = ""
    other = replace(dataset, label_set=request.param, table=dataset.table.assign(label=labels, uncertain=""))
    return other, make_stages(other, ("improved",))


@pytest.fixture(scope="session")
def facts():
    return {"data": make_data(), **FACTS}


@pytest.fixture(scope="session")
def leave():
    def leave_study(out_dir, stages, *, left_out=(), **data):
        """Write a folder as a study leaves it."""
        for name, result in stages.items():
            save_result(result, out_dir / "stages" / f"{name}.npz")
        results = summarize_study(stages, data=make_data(**data), **FACTS | {"left_out": dict(left_out)})
        (out_dir / "results.json").write_text(json.dumps(results, allow_nan=False), encoding="utf-8")
        return out_dir

    return leave_study
