"""Sentences of an evaluation; the metrics select them."""

from __future__ import annotations

import math

from pneumoscope.io.results import CollectionEvaluation, Confounders, Estimate, OODCheck
from pneumoscope.report.figures.evaluation import name_task
from pneumoscope.report.wording import (
    confounder_title,
    format_difference,
    format_estimate,
    format_value,
    format_with_ci,
    name_classes,
)

TOLERANCE = 0.05
FEW_REJECTED = 0.05
CHANCE, GOOD = 0.5, 0.9
ZERO = Estimate(0, 0, 0, 0)


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


def write_about(evaluation: CollectionEvaluation) -> str:
    """Return which images and which decisions the main metrics are about."""
    rejected = "All readable images are included, rejected images too."
    about = rejected if evaluation.rejections else "All images with a prediction are included."
    if not evaluation.thresholds:
        return f"{about} The decision is the most probable class."
    return f"{about} Decisions use the operating point {evaluation.operating_point}."


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


def write_corrected(evaluation: CollectionEvaluation) -> str:
    """Return what the correction for label shift changed, or an empty string without a correction."""
    if not evaluation.corrected:
        return ""
    return (
        "Probabilities were corrected for label shift, with class shares estimated on these images. Thresholds, "
        "rejections, uncertainty, prediction sets and confounders use uncorrected probabilities."
    )


def write_points(evaluation: CollectionEvaluation) -> list[str]:
    """Return how thresholds decide, where they come from, and which operating points share one."""
    positive = evaluation.images.label_set.positive
    chosen = len(evaluation.thresholds) > 1
    source = "belongs to the model and was chosen on other images" if chosen else "was not chosen on images"
    names_by_threshold: dict[float, list[str]] = {}
    for point, thresholds in evaluation.thresholds.items():
        names_by_threshold.setdefault(thresholds.get(positive or "", math.nan), []).append(point)
    equal = [names for names in names_by_threshold.values() if len(names) > 1]
    return [
        f"An image counts as {positive} if its probability is at or above the threshold. The threshold {source}.",
        *(f"The operating points {' and '.join(names)} have the same threshold." for names in equal),
    ]


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


def write_calibration(evaluation: CollectionEvaluation) -> list[str]:
    """Return whether probabilities are too high or too low."""
    by_bias: dict[str, list[str]] = {}
    for task, reliability in evaluation.reliability.items():
        gap = reliability.predicted_mean - reliability.observed_mean
        bias = "neither too high nor too low" if abs(gap) <= TOLERANCE / 2 else f"too {'high' if gap > 0 else 'low'}"
        title = f"the probability of {evaluation.images.label_set.positive or task}"
        if task == "classes" and not evaluation.images.label_set.multi_label:
            title = "the highest probability of all classes"
        elif evaluation.images.label_set.multi_label:
            title = task
        by_bias.setdefault(bias, []).append(title)
    sentences = [f"{bias.capitalize()} on average: {', '.join(titles)}." for bias, titles in by_bias.items()]
    if "label-shift" not in evaluation.notes and not evaluation.corrected:
        sentences.append(
            "Probabilities assume equal class frequencies. Other frequencies increase the calibration error."
        )
    return sentences


def write_conformal(evaluation: CollectionEvaluation) -> str:
    """Return whether the prediction sets reach their nominal coverage."""
    if evaluation.conformal is None:
        return "These models have no conformal limit. Export them again to obtain prediction sets."
    nominal, metrics = evaluation.conformal.nominal_coverage, evaluation.conformal.metrics
    coverage = metrics["all"]["coverage"]
    verdict = "below the nominal coverage" if coverage.high < nominal else "in agreement with the nominal coverage"
    worst = min(metrics, key=lambda name: metrics[name]["coverage"].value)
    return (
        f"Prediction sets have a nominal coverage of {nominal:.0%} over all images, not for each class. The measured "
        f"coverage is {format_estimate('coverage', coverage)}, {verdict}. It is lowest for {worst}: "
        f"{format_estimate('coverage', metrics[worst]['coverage'])}."
    )


def write_selective(evaluation: CollectionEvaluation) -> list[str]:
    """Return the effect of abstaining on the least certain images."""
    if not evaluation.selective:
        return []
    task, curve = next(iter(evaluation.selective.items()))
    before, after = (format_value("accuracy", curve.at_shares[share].value) for share in (1.0, 0.8))
    if curve.at_shares[0.8].value <= curve.at_shares[1.0].value:
        return ["Abstention on the least certain 20% of the images does not increase the accuracy."]
    return [
        "Abstention on the least certain 20% of the images increases the accuracy of "
        f"{name_task(evaluation, task)} from {before} to {after}."
    ]


def write_rejections(evaluation: CollectionEvaluation) -> list[str]:
    """Return the shares of rejected and uncertain images, and the accuracy of uncertain predictions."""
    rejections = evaluation.rejections
    if rejections is None:
        return []
    rejected, uncertain, unlike = (
        format_estimate("share", shares["all"])
        for shares in (rejections.rejected, rejections.uncertain, rejections.flagged)
    )
    sentences = [
        f"{rejected} of the images are rejected. {uncertain} are uncertain. {unlike} are accepted although they are "
        "out of distribution."
    ]
    if {"certain", "uncertain"} <= set(rejections.accuracy):
        certain, uncertain_accuracy = rejections.accuracy["certain"], rejections.accuracy["uncertain"]
        verdict = "Uncertain predictions are not less accurate"
        if uncertain_accuracy.value < certain.value:
            verdict = (
                f"Uncertain predictions {'are' if uncertain_accuracy.high < certain.low else 'seem'} less accurate"
            )
        sentences.append(
            f"{verdict}: accuracy {format_estimate('accuracy', uncertain_accuracy)}, compared with "
            f"{format_estimate('accuracy', certain)} for other predictions."
        )
    return sentences


def write_label_shift(evaluation: CollectionEvaluation) -> list[str]:
    """Return whether the estimated class shares agree with the labels."""
    shift = evaluation.label_shift
    if shift is None:
        return ["There are too few images to estimate class shares."]
    sentences = ["Class shares are estimated from the probabilities, without labels."]
    missed = [name for name, share in evaluation.true_shares.items() if not _holds(shift.shares[name], share)]
    if missed:
        sentences.append(
            f"The intervals do not include the labeled shares of {', '.join(missed)}. The images differ from the "
            "training images in more than class shares, so do not use this estimate for a correction."
        )
    elif evaluation.true_shares:
        sentences.append("The intervals include the labeled shares.")
    return sentences


def _holds(estimate: Estimate, value: float) -> bool:
    return not math.isfinite(estimate.low) or estimate.low <= value <= estimate.high


def write_error_runs(evaluation: CollectionEvaluation) -> str:
    """Return how many errors form contiguous runs in the order of file names."""
    runs = evaluation.error_runs
    if not runs:
        return "There are no contiguous error runs beyond chance, or there are too few patients to detect them."
    wrong, images = sum(run.num_wrong for run in runs), sum(run.num_images for run in runs)
    return (
        f"Contiguous error runs: {wrong:,} errors on {images:,} images with consecutive file names. These images may "
        "have been acquired or labeled differently. The probability of such runs by chance is at most 1 in 100."
    )


def write_confounders(confounders: Confounders) -> list[str]:
    """Return how much performance remains with the lungs hidden."""
    untouched, hidden, area = (
        confounders.metrics[name]["auroc"] for name in ("untouched", "lungs_hidden", "lung_area_hidden")
    )
    lost, accuracy = (confounders.differences["lungs_hidden"][name] for name in ("auroc", "accuracy"))
    sentences = [
        f"With the lungs hidden, the AUROC is {format_estimate('auroc', hidden)}, a difference of "
        f"{format_difference('auroc', lost)} from unchanged images. With the same area hidden in all images, the AUROC "
        f"is {format_estimate('auroc', area)}."
    ]
    if untouched.value > area.low > CHANCE:
        share = (area.value - CHANCE) / (untouched.value - CHANCE)
        lungs_only = format_estimate("auroc", confounders.metrics["lungs_only"]["auroc"])
        sentences.append(
            f"This is {min(100 * share, 100):.0f}% of the AUROC above chance, which exposure or structures outside the "
            f"lungs can explain. With everything but the lungs hidden, the AUROC is {lungs_only}."
        )
    if accuracy.high < 0 and lost.value > accuracy.value / 2:
        sentences.append(
            f"With the lungs hidden, the accuracy changes by {format_difference('accuracy', accuracy)}. All "
            "probabilities shift together, which changes decisions but not the ranking."
        )
    if confounders.pixel_baselines:
        best = max(confounders.pixel_baselines, key=lambda name: confounders.pixel_baselines[name]["auroc"].value)
        sentences.append(
            f"Best regression without the lungs: {confounder_title(best)}, AUROC "
            f"{format_estimate('auroc', confounders.pixel_baselines[best]['auroc'])}."
        )
    else:
        sentences.append(
            "Regressions without the lungs were not fitted, because they need training images of both classes."
        )
    if any(metrics["auroc"].high < CHANCE for metrics in confounders.pixel_baselines.values()):
        sentences.append(
            "An AUROC below 0.5 of a regression shows that training and test images were acquired differently."
        )
    return sentences


def write_ood(check: OODCheck) -> list[str]:
    """Return the shares of flagged valid images, and the type of invalid input that is detected least."""
    usual, *others = check.kinds
    sentences = [
        f"Of {usual.flagged.n:,} images of the collection, {format_estimate('share', usual.flagged)} are flagged and "
        f"{format_estimate('share', usual.rejected)} are rejected."
    ]
    unseen = [kind for kind in others if kind.origin == "unseen"]
    if unseen:
        weakest = min(unseen, key=lambda kind: kind.flagged.value)
        sentences.append(
            "Lowest detection rate among types of invalid input not seen in training: "
            f"{weakest.kind}, {format_estimate('share', weakest.flagged)} flagged."
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
