"""Metrics of the reference study and of publications on the official test split.

Values were checked in their sources unless `remark` says otherwise.
"""

from dataclasses import dataclass, field
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
    """A publication and its metrics.

    Attributes:
        key: identifier in the list of sources.
        name: short name for tables and figures.
        citation: full reference.
        url: of the source; may be empty.
        metrics: by task and metric, named as in `results.json`.
        remark: limits of the comparison.
    """

    key: str
    name: str
    citation: str
    url: str = ""
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    remark: str = ""


PUBLICATIONS = (
    Publication(
        "keras-tpu",
        "keras.io example",
        "Keras code examples: Pneumonia classification on TPU.",
        "https://keras.io/examples/vision/xray_classification_with_tpus/",
        {"binary": {"accuracy": 0.790}},
    ),
    Publication(
        "kermany-2018",
        "Kermany 2018",
        "Kermany, Goldbaum, Cai et al. 2018. Identifying medical diagnoses and treatable diseases by image-based deep "
        "learning. Cell 172(5), 1122-1131.",
        "https://doi.org/10.1016/j.cell.2018.02.010",
        {"binary": {"accuracy": 0.928, "auroc": 0.968}, "multiclass": {"auroc_bacterial_vs_viral": 0.940}},
        "value not checked in the source",
    ),
    Publication(
        "medmnist-2023",
        "Google AutoML Vision",
        "Yang, Shi, Wei et al. 2023. MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D biomedical image "
        "classification. Scientific Data 10, 41.",
        "https://doi.org/10.1038/s41597-022-01721-8",
        {"binary": {"accuracy": 0.946, "auroc": 0.991}},
    ),
    Publication(
        "medmnist-plus-2024",
        "DINO ViT-B/16",
        "Doerrich, Di Salvo, Brockmann, Ledig 2024. Rethinking model prototyping through the MedMNIST+ dataset "
        "collection. arXiv 2404.15786.",
        "https://arxiv.org/abs/2404.15786",
        {"binary": {"accuracy": 0.916, "auroc": 0.989}, "neighbors": {"accuracy": 0.905}},
        "pretrained on other images; linear probe, or k-NN on its embedding",
    ),
    Publication(
        "medvit-v2-2025",
        "MedViTV2-L",
        "Manzari, Asgariandehkordi, Koleilat et al. 2025. Medical image classification with KAN-integrated "
        "transformers and dilated neighborhood attention. arXiv 2502.13693.",
        "https://arxiv.org/abs/2502.13693",
        {"binary": {"accuracy": 0.973}},
        "self-reported",
    ),
    Publication(
        "ayan-2022",
        "Ayan 2022",
        "Ayan, Karabulut, Ünver 2022. Diagnosis of pediatric pneumonia with ensemble of deep convolutional neural "
        "networks in chest X-ray images. Arabian Journal for Science and Engineering 47.",
        "https://doi.org/10.1007/s13369-021-06127-z",
        {"multiclass": {"accuracy": 0.907}},
        "ensemble of models pretrained on other images",
    ),
    Publication(
        "squid-2023",
        "SQUID",
        "Xiang, Zhang, Lu et al. 2023. SQUID: deep feature in-painting for unsupervised anomaly detection. CVPR 2023, "
        "23890-23901.",
        "https://arxiv.org/abs/2111.13495",
        {"anomaly": {"accuracy": 0.803, "auroc": 0.876, "f1": 0.847}},
        "trained on normals only",
    ),
    Publication(
        "ppad-2024",
        "PPAD",
        "Sun, Gu, Liu et al. 2024. Position-guided prompt learning for anomaly detection in chest X-rays. "
        "arXiv 2405.11976.",
        "https://arxiv.org/abs/2405.11976",
        {"anomaly": {"accuracy": 0.894, "auroc": 0.967}},
        "uses a model pretrained on many other chest radiographs",
    ),
)


def best_published(task: str, metric: str) -> tuple[Publication, float] | None:
    """Return the publication with the highest value of a metric and this value, or None.

    Example:
        >>> publication, value = best_published("anomaly", "f1")
        >>> publication.name, value
        ('SQUID', 0.847)
    """
    listed = [
        (publication, publication.metrics[task][metric])
        for publication in PUBLICATIONS
        if metric in publication.metrics.get(task, {})
    ]
    return max(listed, key=lambda pair: pair[1], default=None)
