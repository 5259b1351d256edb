"""Sentences of an evaluation; the metrics select them."""

from __future__ import annotations

import math

from pneumoscope.io.results import CollectionEvaluation, Confounders, Estimate
from pneumoscope.report.wording import confounder_title, format_estimate, format_with_ci, name_classes

TOLERANCE = 0.05
FEW_REJECTED = 0.05
CHANCE, GOOD = 0.5, 0.9
ZERO = Estimate(0, 0, 0, 0)


def write_paragraphs(evaluation: CollectionEvaluation) -> dict[str, list[str]]:
    """Return the paragraphs that depend on the metrics, by section of the page."""
    hidden = evaluation.confounders
    return {
        "overview": write_verdict(evaluation),
        "classes": write_classes(evaluation),
        "conformal": write_conformal(evaluation),
        "rejections": write_rejections(evaluation),
        "confounders": write_confounders(hidden) if hidden else [],
        "label-shift": write_label_shift(evaluation),
        "limitations": write_limitations(evaluation),
    }


def write_headline(evaluation: CollectionEvaluation) -> str:
    """Return the main metrics in one sentence."""
    scope, label_set, main = evaluation.scopes["all"], evaluation.images.label_set, evaluation.main_metrics()
    names: tuple[str, ...] = ("auroc", "accuracy", "balanced_accuracy")
    title = f"Most probable of {len(label_set.classes)} classes"
    if label_set.multi_label:
        names, title = ("auroc", "macro_f1"), f"Mean over {len(label_set.classes)} findings"
    elif label_set.positive:
        names = ("auroc", "sensitivity", "specificity")
        title = f"{name_classes(label_set.binary().classes, 'or')} at the operating point {evaluation.operating_point}"
    titles = {"auroc": "AUROC", "macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy"}
    listed = ", ".join(
        f"{titles.get(name, name)} {format_with_ci(name, main[name])}"
        for name in names
        if math.isfinite(main[name].value)
    )
    return f"{title}: {listed}, n = {scope.num_images:,} images of {scope.num_patients:,} patients."


def write_verdict(evaluation: CollectionEvaluation) -> list[str]:
    """Return warnings about the use of the model on similar images."""
    scope, auroc, seen = evaluation.scopes["all"], evaluation.main_metrics()["auroc"], evaluation.seen_in_training
    verdict = [evaluation.notes["constant"]] if "constant" in evaluation.notes else []
    if seen:
        verdict.append(
            f"{len(seen):,} of {scope.num_images:,} images, or copies of them, were in the training data of the model, "
            "so metrics are biased upwards. The names are in evaluation.json."
        )
    if not math.isfinite(auroc.value):
        verdict.append("A class has no images, so the AUROC is not defined.")
    elif auroc.high < CHANCE:
        verdict.append("The AUROC is below chance. Do not use the models on similar images.")
    elif auroc.low <= CHANCE:
        verdict.append("The AUROC does not differ from chance. Do not use the models on similar images.")
    elif scope.ranking and auroc.low >= GOOD:
        best = scope.ranking["specificity_at_sensitivity"]
        if best.value - scope.points[evaluation.operating_point]["specificity"].value > TOLERANCE:
            verdict.append(
                "The thresholds were chosen on other images and are not optimal here. At 97% sensitivity, a "
                f"specificity of {format_estimate('specificity', best)} is possible."
            )
    if evaluation.confounders is not None:
        metrics = evaluation.confounders.metrics
        untouched, hidden = metrics["untouched"]["auroc"], metrics["lung_area_hidden"]["auroc"]
        if untouched.low > CHANCE and hidden.low > CHANCE:
            verdict.append(
                f"Confounders: with the lungs of all images hidden, the AUROC is still "
                f"{format_estimate('auroc', hidden)}. Performance on images from other sources may be lower."
            )
    rejections = evaluation.rejections
    if rejections and auroc.high < GOOD and rejections.rejected["all"].value < FEW_REJECTED:
        verdict.append("The OOD detector accepts nearly all of these images.")
    return verdict


def write_classes(evaluation: CollectionEvaluation) -> list[str]:
    """Return how classes or findings are decided, and which have no metrics."""
    result, label_set = evaluation.scopes["all"].classes, evaluation.images.label_set
    if result is None:
        if label_set.task == "binary":
            return ["There are two classes, see Performance."]
        listed = " and ".join(label_set.positives) if len(label_set.positives) < 5 else "the classes"
        return [f"The labels do not distinguish {listed}, so there are no metrics of all classes."]
    undefined = [name for name in label_set.classes if math.isnan(result.metrics.get(f"auroc_{name}", ZERO).value)]
    if not label_set.multi_label:
        return ["The predicted class is the most probable class."]
    limits = evaluation.thresholds[evaluation.operating_point].values()
    shared = f" {next(iter(limits)):.3f}" if len(set(limits)) == 1 else ""
    return [
        f"A finding is predicted if its probability is at or above its threshold{shared}. An image whose label of a "
        "finding is unknown does not count for this finding.",
        f"Averages leave out findings without images both with and without them: {', '.join(undefined)}."
        if undefined
        else "",
    ]


def write_conformal(evaluation: CollectionEvaluation) -> list[str]:
    """Return whether the prediction sets reach their nominal coverage."""
    if evaluation.conformal is None:
        return []
    nominal, coverage = evaluation.conformal.nominal_coverage, evaluation.conformal.metrics["all"]["coverage"]
    verdict = "below the nominal coverage" if coverage.high < nominal else "in agreement with the nominal coverage"
    return [
        f"Prediction sets have a nominal coverage of {nominal:.0%} over all images, not for each class. The measured "
        f"coverage is {format_estimate('coverage', coverage)}, {verdict}."
    ]


def write_rejections(evaluation: CollectionEvaluation) -> list[str]:
    """Return the shares of rejected, uncertain and flagged images."""
    if evaluation.rejections is None:
        return []
    rejected, uncertain, flagged = (
        format_estimate("share", getattr(evaluation.rejections, name)["all"])
        for name in ("rejected", "uncertain", "flagged")
    )
    return [
        f"{rejected} of the images are rejected. {uncertain} are uncertain. {flagged} are accepted although they are "
        "out of distribution."
    ]


def write_label_shift(evaluation: CollectionEvaluation) -> list[str]:
    """Return whether the estimated class shares agree with the labels."""
    shift = evaluation.label_shift
    if shift is None:
        return []
    sentences = ["Class shares are estimated from the probabilities, without labels."]
    missed = [
        name
        for name, share in evaluation.true_shares.items()
        if math.isfinite(shift.shares[name].low) and not shift.shares[name].low <= share <= shift.shares[name].high
    ]
    if missed:
        sentences.append(
            f"The intervals do not include the labeled shares of {', '.join(missed)}. The images differ from the "
            "training images in more than class shares, so do not use this estimate for a correction."
        )
    elif evaluation.true_shares:
        sentences.append("The intervals include the labeled shares.")
    return sentences


def write_confounders(confounders: Confounders) -> list[str]:
    """Return how much performance remains with the lungs hidden."""
    hidden, area = (confounders.metrics[name]["auroc"] for name in ("lungs_hidden", "lung_area_hidden"))
    sentences = [
        f"With the lungs hidden, the AUROC is {format_estimate('auroc', hidden)}. With the same area hidden in all "
        f"images, it is {format_estimate('auroc', area)}."
    ]
    if confounders.pixel_baselines:
        best = max(confounders.pixel_baselines, key=lambda name: confounders.pixel_baselines[name]["auroc"].value)
        sentences.append(
            f"Best regression without the lungs: {confounder_title(best)}, AUROC "
            f"{format_estimate('auroc', confounders.pixel_baselines[best]['auroc'])}."
        )
    return sentences


def write_limitations(evaluation: CollectionEvaluation) -> list[str]:
    """Return the limitations of the evaluation."""
    images, label_set = evaluation.images, evaluation.images.label_set
    prevalence = "each finding" if label_set.multi_label else "each class"
    if label_set.positive:
        prevalence = f"{label_set.positive}, here {images.positive.mean():.1%}"
    limitations = [
        "Intervals resample the patients of this collection and do not predict metrics on other collections. An "
        "interval of zero width, such as [100.0, 100.0], means that no exception occurred among n images. The true "
        "rate of exceptions can be up to 3 in n.",
        "Labels are taken from the collection and were not reviewed.",
        f"Accuracy, precision and AUPRC depend on the prevalence of {prevalence}.",
        "A subgroup of a few dozen images shows only large differences. With many subgroups, some differ by chance.",
        "The specificity at 97% sensitivity uses a threshold chosen on these images." if label_set.positive else "",
        "The expected calibration error cannot be negative, so chance increases it.",
    ]
    if evaluation.seen_in_training is None:
        limitations.append(
            "The model does not list its training images, so it is unknown whether these images are among them."
        )
    if evaluation.split in ("train", "val", "all"):
        limitations.insert(
            0,
            f"The split {evaluation.split} may contain images that were used to train the models or to choose "
            "thresholds, so metrics are biased upwards.",
        )
    return list(filter(None, limitations))
