"""Metrics of the reference study and of publications: the one source of the report and of the documentation."""

from dataclasses import dataclass
from types import MappingProxyType

TEST_IMAGES = 624

REFERENCE_STUDY = '"Deep Learning, Final Course Project", O. Bar, Bar-Ilan University, 2024'
# The rule of the anomaly metrics is "one standard deviation from the mean" of the test normals. The reported values fit
# its two-sided reading: `two_sided` in `pneumoscope.anomaly.evaluation`. The anomaly AUROC was read from a plot.
REFERENCE = MappingProxyType(
    {
        "binary": {"accuracy": 0.7740},
        "multiclass": {
            "accuracy": 0.6346,
            "precision_normal": 0.96,
            "precision_bacterial": 0.66,
            "precision_viral": 0.46,
        },
        "anomaly": {
            "auroc": 0.75,
            "accuracy_two_sided": 0.668,
            "false_positive_rate_two_sided": 0.27,
            "sensitivity_two_sided": 0.63,
        },
    }
)
APPROXIMATE = frozenset({("anomaly", "auroc")})


@dataclass(frozen=True)
class Publication:
    """Metrics that were published with one protocol.

    Attributes:
        key: identifier in the list of sources.
        name: short name for tables and figures.
        citation: full reference.
        protocol: how the model was trained and evaluated.
        metrics: by task and metric, named as in `results.json`; `external` is binary, on images of another hospital.
        url: of the source; may be empty.
        checked: whether the values were read in the source; others are quoted from memory.
        comparable: False if the protocol rules out a comparison.
    """

    key: str
    name: str
    citation: str
    protocol: str
    metrics: dict[str, dict[str, float]]
    url: str = ""
    checked: bool = True
    comparable: bool = True

    def describe_metrics(self, task: str) -> str:
        """Return the metrics of a task in words; a star marks values that were not checked."""
        digits, star = (2 if task == "external" else 3), "" if self.checked else "*"
        return ", ".join(
            f"accuracy {100 * value:.1f} %" if metric == "accuracy" else f"AUROC {value:.{digits}f}{star}"
            for metric, value in self.metrics.get(task, {}).items()
        )


_MEDMNIST_PLUS = (
    "Doerrich, Di Salvo, Brockmann, Ledig 2024. Rethinking model prototyping through the MedMNIST+ dataset collection. "
    "arXiv 2404.15786."
)
_CONVNEXT = "kiselyovd/chest-xray-classifier, version 0.1.0, file reports/metrics.json."
_MEDVIT = (
    "Manzari, Asgariandehkordi, Koleilat et al. 2025. Medical image classification with KAN-integrated transformers "
    "and dilated neighborhood attention. arXiv 2502.13693."
)
_NORMALS_ONLY = "trained on normals only, no chest pretraining"
_SQUID = "Xiang, Zhang, Lu et al. 2023. SQUID: deep feature in-painting for unsupervised anomaly detection. CVPR 2023."

PUBLICATIONS = (
    Publication(
        "keras-tpu",
        "keras.io example",
        "Keras code examples: Pneumonia classification on TPU.",
        "code example for TPU",
        {"binary": {"accuracy": 0.790}},
        "https://keras.io/examples/vision/xray_classification_with_tpus/",
    ),
    Publication(
        "chexzero",
        "CheXzero",
        "Model: Tiu, Talius, Patel et al. 2022. Expert-level detection of pathologies from unannotated chest X-ray "
        "images via self-supervised learning. Nature Biomedical Engineering 6, 1399-1406.",
        "zero-shot: no image of this data set was used",
        {"binary": {"accuracy": 0.830, "auroc": 0.927}},
        "https://doi.org/10.1038/s41551-022-00936-9",
    ),
    Publication(
        "medmnist-plus-resnet",
        "MedMNIST+ ResNet-18",
        _MEDMNIST_PLUS,
        "224 pixels, 3 seeds",
        {"binary": {"accuracy": 0.911, "auroc": 0.980}},
        "https://arxiv.org/abs/2404.15786",
    ),
    Publication(
        "medmnist-plus-dino",
        "DINO ViT-B/16",
        _MEDMNIST_PLUS,
        "pretrained on other images; linear probe, or k-NN on its embedding",
        {"binary": {"accuracy": 0.916, "auroc": 0.989}, "neighbors": {"accuracy": 0.905}},
        "https://arxiv.org/abs/2404.15786",
    ),
    Publication(
        "medmnist-2023",
        "Google AutoML Vision",
        "Yang, Shi, Wei et al. 2023. MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image "
        "classification. Scientific Data 10, 41.",
        "MedMNIST v2",
        {"binary": {"accuracy": 0.946, "auroc": 0.991}},
        "https://doi.org/10.1038/s41597-022-01721-8",
    ),
    Publication(
        "convnext-v2",
        "ConvNeXt-V2-Tiny",
        _CONVNEXT,
        "570 of 624 images, as normal or pneumonia 599: 224 pixels, ImageNet-22k weights, random resized crop and "
        "flip, cross-entropy, AdamW 3e-5, epoch chosen by the loss on 10 % of train; one model, one seed",
        {"binary": {"accuracy": 599 / 624}, "multiclass": {"accuracy": 570 / 624}},
        "https://github.com/kiselyovd/chest-xray-classifier",
    ),
    Publication(
        "dinov2",
        "DINOv2-S",
        _CONVNEXT.replace("metrics", "metrics_baseline"),
        "linear probe, same repository as ConvNeXt-V2-Tiny",
        {"multiclass": {"accuracy": 534 / 624}},
        "https://github.com/kiselyovd/chest-xray-classifier",
    ),
    *(
        Publication(
            f"medvit-v2-{size.lower()}",
            f"MedViTV2-{size}",
            _MEDVIT,
            "not comparable: the epoch was chosen on the test set",
            {"binary": {"accuracy": accuracy}},
            "https://arxiv.org/abs/2502.13693",
            comparable=False,
        )
        for size, accuracy in (("T", 0.951), ("L", 0.973))
    ),
    Publication(
        "ayan-2022",
        "Ayan 2022",
        "Ayan, Karabulut, Ünver 2022. Diagnosis of pediatric pneumonia with ensemble of deep convolutional neural "
        "networks in chest X-ray images. Arabian Journal for Science and Engineering 47.",
        "ensemble of models pretrained on other images",
        {"multiclass": {"accuracy": 0.907}},
        "https://doi.org/10.1007/s13369-021-06127-z",
    ),
    Publication(
        "kermany-2018",
        "Kermany 2018",
        "Kermany, Goldbaum, Cai et al. 2018. Identifying medical diagnoses and treatable diseases by image-based deep "
        "learning. Cell 172(5), 1122-1131.",
        "pretrained on other images; value not checked in the source",
        {"multiclass": {"auroc_bacterial_vs_viral": 0.940}},
        "https://doi.org/10.1016/j.cell.2018.02.010",
        checked=False,
    ),
    *(
        Publication(
            f"{name.lower()}-anomaly",
            name,
            _SQUID,
            f"{_NORMALS_ONLY}; value not checked in the source",
            {"anomaly": {"auroc": auroc}},
            "https://arxiv.org/abs/2111.13495",
            checked=False,
        )
        for name, auroc in (("IF-2D", 0.810), ("SALAD", 0.827), ("SQUID", 0.876))
    ),
    Publication(
        "ppad-2024",
        "PPAD",
        "Sun, Gu, Liu et al. 2024. Position-guided prompt learning for anomaly detection in chest X-rays. "
        "arXiv 2405.11976.",
        "uses a foundation model of other chest radiographs; CoOp, MaPLe and PPAD reach 0.946 to 0.967",
        {"anomaly": {"auroc": 0.967}},
        "https://arxiv.org/abs/2405.11976",
    ),
    Publication(
        "xin-2021",
        "Xin 2021",
        "Xin, Li, Yi 2021. Limited generalizability of deep learning algorithm for pediatric pneumonia classification "
        "on external data. Emergency Radiology 29, 107-113.",
        "ResNet-50, 383 radiographs of children of 1 to 5 years from NIH ChestX-ray14; 0.95 on the official test",
        {"external": {"auroc": 0.54}},
        "https://doi.org/10.1007/s10140-021-01954-x",
    ),
    Publication(
        "togunwa-2025",
        "Togunwa 2025",
        "Togunwa, Babatunde, Fatade et al. 2025. Detection of pneumonia in children through chest radiographs using "
        "artificial intelligence in a low-resource setting: a pilot study. PLOS Digital Health 4, e0000713.",
        "190 radiographs of children from Ibadan, Nigeria; 0.93 on the official test",
        {"external": {"auroc": 0.65}},
        "https://doi.org/10.1371/journal.pdig.0000713",
    ),
)

_TASKS = {
    "binary": "normal or pneumonia",
    "multiclass": "three classes",
    "neighbors": "k-NN, normal or pneumonia",
    "anomaly": "anomaly detection",
    "external": "normal or pneumonia, other hospital",
}


def best_published(task: str, metric: str) -> tuple[Publication, float] | None:
    """Return the comparable publication with the highest value of a metric and this value, or None.

    Example:
        >>> publication, value = best_published("binary", "accuracy")
        >>> publication.name, f"{value:.3f}"
        ('ConvNeXt-V2-Tiny', '0.960')
    """
    listed = [
        (publication, publication.metrics[task][metric])
        for publication in PUBLICATIONS
        if publication.comparable and metric in publication.metrics.get(task, {})
    ]
    return max(listed, key=lambda pair: pair[1], default=None)


def write_published_table() -> str:
    """Return a Markdown table of the reference study and all publications, by task, for the documentation."""
    lines = ["| task | result | model | protocol |", "|---|---|---|---|"]
    for task, title in _TASKS.items():
        rows = [
            (one.describe_metrics(task), one.name, one.protocol)
            for one in PUBLICATIONS
            if task in one.metrics and "auroc_bacterial_vs_viral" not in one.metrics[task]
        ]
        if reference := REFERENCE.get(task):
            auroc = f"AUROC about {reference['auroc']:.2f}, " if "auroc" in reference else ""
            accuracy = reference.get("accuracy", reference.get("accuracy_two_sided", 0))
            result = f"{auroc}accuracy {100 * accuracy:.1f} %"
            rows.insert(0, (result, "reference study", "threshold from the test normals" if auroc else "40 epochs"))
        lines += [f"| {title if not number else ''} | {' | '.join(row)} |" for number, row in enumerate(rows)]
        if task == "multiclass":
            lines += [
                f"| bacterial against viral | {one.describe_metrics(task)} | {one.name} | {one.protocol} |"
                for one in PUBLICATIONS
                if "auroc_bacterial_vs_viral" in one.metrics.get(task, {})
            ]
    return "\n".join(lines)
