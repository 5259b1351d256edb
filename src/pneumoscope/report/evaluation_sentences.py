"""Sentences of an evaluation, chosen by the metrics."""

from __future__ import annotations

import math

from pneumoscope.io.results import CollectionEvaluation, Confounders, Estimate, OODCheck
from pneumoscope.report.wording import confounder_title, format_difference, format_estimate, format_value

TOLERANCE = 0.05
FEW_REJECTED = 0.05
CHANCE, GOOD = 0.5, 0.9


def write_headline(evaluation: CollectionEvaluation) -> str:
    """Return AUROC, sensitivity and specificity in one sentence."""
    scope = evaluation.scopes["all"]
    point = scope.points[evaluation.operating_point]
    metrics = [("AUROC", "auroc", scope.ranking["auroc"])]
    metrics += [(name, name, point[name]) for name in ("sensitivity", "specificity")]
    listed = ", ".join(
        f"{title} {format_estimate(name, value)}" for title, name, value in metrics if math.isfinite(value.value)
    )
    return (
        f"Normal against pneumonia on {scope.num_images:,} images of {scope.num_patients:,} patients, operating point "
        f"{evaluation.operating_point}: {listed}."
    )


def write_verdict(evaluation: CollectionEvaluation) -> list[str]:
    """Return what the metrics mean for the use of the models on such images."""
    scope = evaluation.scopes["all"]
    auroc, best = scope.ranking["auroc"], scope.ranking["specificity_at_sensitivity"]
    specificity = scope.points[evaluation.operating_point]["specificity"]
    verdict = []
    if not math.isfinite(auroc.value):
        verdict.append("One class is missing, so the separation of the classes cannot be measured.")
    elif auroc.high < CHANCE:
        verdict.append("The AUROC is below chance. Do not use the models on images like these.")
    elif auroc.low <= CHANCE:
        verdict.append("The AUROC does not differ from chance. Do not use the models on images like these.")
    elif auroc.low >= GOOD and best.value - specificity.value > TOLERANCE:
        verdict.append(
            "The thresholds, chosen on other images, do not carry over: at 97% sensitivity these images allow a "
            f"specificity of {format_estimate('specificity', best)}."
        )
    if evaluation.confounders is not None:
        metrics = evaluation.confounders.metrics
        untouched, hidden = metrics["untouched"]["auroc"], metrics["lung_area_hidden"]["auroc"]
        if untouched.low > CHANCE and hidden.low > CHANCE:
            verdict.append(
                f"Confounders: with the lungs of all images hidden, the AUROC is still "
                f"{format_estimate('auroc', hidden)}. Performance may not carry over to another source."
            )
    if auroc.high < GOOD and evaluation.rejections.rejected["all"].value < FEW_REJECTED:
        verdict.append("The OOD detector accepts nearly all of these images.")
    return verdict


def write_corrected(evaluation: CollectionEvaluation) -> str:
    """Return which metrics belong to probabilities corrected for label shift; empty where none were."""
    if not evaluation.corrected:
        return ""
    return (
        "Probabilities were corrected for the shares of the classes estimated on these images. Thresholds, "
        "rejections, uncertainty, prediction sets and confounders are those of uncorrected probabilities."
    )


def write_three_class(evaluation: CollectionEvaluation) -> str:
    """Return how bacterial and viral are labeled, or that they are not."""
    if evaluation.scopes["all"].three_class is None:
        return "The labels do not distinguish bacterial from viral pneumonia, so metrics of three classes are left out."
    return "The prediction is the most probable class. The collection labels bacterial and viral by file names only."


def write_calibration(evaluation: CollectionEvaluation) -> list[str]:
    """Return whether probabilities are too high or too low."""
    sentences = []
    for kind, title in (("pneumonia", "The probability of pneumonia"), ("three_class", "The highest of three")):
        if kind in evaluation.reliability:
            reliability = evaluation.reliability[kind]
            gap = reliability.promised_mean - reliability.observed_mean
            lean = "on average neither too high nor too low"
            if abs(gap) > TOLERANCE / 2:
                lean = f"on average too {'high' if gap > 0 else 'low'}"
            sentences.append(f"{title} is {lean}.")
    if not evaluation.corrected:
        sentences.append("Probabilities assume equally frequent classes; other shares contribute to the error.")
    return sentences


def write_conformal(evaluation: CollectionEvaluation) -> str:
    """Return whether the prediction sets reach their nominal coverage."""
    if evaluation.conformal is None:
        return "These models have no conformal limit. Export them again to get prediction sets."
    nominal, metrics = evaluation.conformal.promised, evaluation.conformal.metrics
    coverage = metrics["all"]["coverage"]
    verdict = "below the nominal coverage" if coverage.high < nominal else "in agreement with the nominal coverage"
    worst = min(metrics, key=lambda name: metrics[name]["coverage"].value)
    return (
        f"Prediction sets have a nominal coverage of {nominal:.0%} over all images, not for each class. Measured: "
        f"{format_estimate('coverage', coverage)}, {verdict}; lowest for {worst}, "
        f"{format_estimate('coverage', metrics[worst]['coverage'])}."
    )


def write_selective(evaluation: CollectionEvaluation) -> str:
    """Return what abstaining on the least certain images gains."""
    at_shares = evaluation.selective["pneumonia"].at_shares
    before, after = (format_value("accuracy", at_shares[share].value) for share in (1.0, 0.8))
    if at_shares[0.8].value <= at_shares[1.0].value:
        return "Abstaining on the least certain images does not raise the accuracy."
    return f"Abstaining on the least certain 20% raises the accuracy of normal or pneumonia from {before} to {after}."


def write_rejections(evaluation: CollectionEvaluation) -> list[str]:
    """Return the shares of rejected and uncertain images, and whether uncertain ones are less accurate."""
    rejections = evaluation.rejections
    rejected, uncertain, unlike = (
        format_estimate("share", shares["all"])
        for shares in (rejections.rejected, rejections.uncertain, rejections.unlike)
    )
    sentences = [
        f"{rejected} of the images are rejected, {uncertain} are uncertain, and {unlike} are read although they are "
        "unlike the training images."
    ]
    if {"sure", "uncertain"} <= set(rejections.answers):
        certain, held_back = rejections.answers["sure"], rejections.answers["uncertain"]
        verdict = "Uncertain predictions are not less accurate"
        if held_back.value < certain.value:
            verdict = f"Uncertain predictions {'are' if held_back.high < certain.low else 'seem'} less accurate"
        sentences.append(
            f"{verdict}: {format_estimate('accuracy', held_back)}, against {format_estimate('accuracy', certain)} of "
            "the others."
        )
    return sentences


def write_label_shift(evaluation: CollectionEvaluation) -> list[str]:
    """Return whether the estimated shares of the classes agree with the labels."""
    shift = evaluation.label_shift
    if shift is None:
        return ["There are too few images to estimate the shares of the classes."]
    sentences = ["The shares of the classes are estimated from the probabilities alone, without labels."]
    missed = [name for name, share in evaluation.true_shares.items() if not _holds(shift.shares[name], share)]
    if missed:
        sentences.append(
            f"The labels disagree for {', '.join(missed)}: more than the shares differs from training, so do not "
            "correct by this estimate."
        )
    elif evaluation.true_shares:
        sentences.append("The intervals include the shares of the labels.")
    return sentences


def _holds(estimate: Estimate, value: float) -> bool:
    return not math.isfinite(estimate.low) or estimate.low <= value <= estimate.high


def write_error_runs(evaluation: CollectionEvaluation) -> str:
    """Return how many errors form contiguous runs along the file names."""
    runs = evaluation.error_runs
    if not runs:
        return "In the order of file names, there are no contiguous error runs beyond chance, or too few patients."
    wrong, images = sum(run.num_wrong for run in runs), sum(run.num_images for run in runs)
    return (
        f"Contiguous error runs: {wrong:,} errors on {images:,} images that are consecutive in the order of file "
        "names. These images may have been acquired or labeled differently (chance: at most 1 in 100)."
    )


def write_confounders(confounders: Confounders) -> list[str]:
    """Return how much performance remains without lungs."""
    untouched, hidden, area = (
        confounders.metrics[name]["auroc"] for name in ("untouched", "lungs_hidden", "lung_area_hidden")
    )
    lost, accuracy = (confounders.differences["lungs_hidden"][name] for name in ("auroc", "accuracy"))
    sentences = [
        f"AUROC with the lungs hidden: {format_estimate('auroc', hidden)}, {format_difference('auroc', lost)} against "
        f"unchanged images; with the same area hidden in all images: {format_estimate('auroc', area)}."
    ]
    if untouched.value > area.low > CHANCE:
        share = (area.value - CHANCE) / (untouched.value - CHANCE)
        lungs_only = format_estimate("auroc", confounders.metrics["lungs_only"]["auroc"])
        sentences.append(
            f"That is {min(100 * share, 100):.0f}% of the AUROC above chance: exposure or what lies beside the lungs "
            f"suffices for it. With everything but the lungs hidden the AUROC is {lungs_only}."
        )
    if accuracy.high < 0 and lost.value > accuracy.value / 2:
        sentences.append(
            f"Accuracy changes by {format_difference('accuracy', accuracy)} with the lungs hidden: all probabilities "
            "shift together, which moves decisions but not the ranking."
        )
    if confounders.pixel_baselines:
        best = max(confounders.pixel_baselines, key=lambda name: confounders.pixel_baselines[name]["auroc"].value)
        sentences.append(
            f"Best regression without any lung: {confounder_title(best)}, AUROC "
            f"{format_estimate('auroc', confounders.pixel_baselines[best]['auroc'])}."
        )
    else:
        sentences.append("Regressions without any lung need training images of both classes, which are missing.")
    if any(metrics["auroc"].high < CHANCE for metrics in confounders.pixel_baselines.values()):
        sentences.append("A regression below 0.5 means that training and test images were acquired differently.")
    return sentences


def write_ood(check: OODCheck) -> list[str]:
    """Return the shares of usual images that are flagged, and the weakest kind of invalid input."""
    usual, *others = check.kinds
    sentences = [
        f"Of {usual.flagged.n:,} images of the collection {format_estimate('flagged', usual.flagged)} are flagged and "
        f"{format_estimate('flagged', usual.rejected)} are rejected."
    ]
    unseen = [kind for kind in others if kind.origin == "unseen"]
    if unseen:
        weakest = min(unseen, key=lambda kind: kind.flagged.value)
        sentences.append(
            f"Weakest of the kinds that the detector was not trained on: {weakest.kind}, "
            f"{format_estimate('flagged', weakest.flagged)} flagged."
        )
    return sentences


def write_limitations(evaluation: CollectionEvaluation) -> list[str]:
    """Return the limitations of the evaluation."""
    limitations = [
        "Intervals resample the patients of this collection; they do not predict another collection. An interval "
        "without width, as [100.0, 100.0], means no exception among n images: up to 3 in n are possible.",
        "Labels are those of the collection; nobody read the images again.",
        f"Accuracy, precision and AUPRC depend on prevalence: here {evaluation.images.labels.mean():.1%} pneumonia.",
        "A subgroup of a few dozen images shows only large differences, and of many subgroups some differ by chance.",
        "The specificity at 97% sensitivity uses a threshold chosen on these images.",
        "The calibration error is never negative, so chance alone increases it.",
    ]
    if evaluation.split in ("train", "val", "all"):
        text = (
            "may hold images that the models were trained on or whose thresholds were chosen on; metrics are too good."
        )
        limitations.insert(0, f"The split {evaluation.split} {text}")
    return limitations
