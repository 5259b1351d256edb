"""What an evaluation says, in plain sentences, each picked by the figures it states."""

from __future__ import annotations

import math

from pneumoscope.io.results import CollectionEvaluation, Confounders, Estimate
from pneumoscope.report.wording import word_estimate, word_value

TOLERANCE = 0.05
FEW_REFUSED = 0.05
CHANCE, GOOD = 0.5, 0.9


def write_headline(evaluation: CollectionEvaluation) -> str:
    """Return the one sentence to take away."""
    scope = evaluation.scopes["all"]
    whom = f"{scope.num_images:,} images of {scope.num_patients:,} patients"
    point = scope.points[evaluation.operating_point]
    told = [
        f"{verb} {word_estimate(name, point[name])} of the {whose}"
        for name, verb, whose in (("sensitivity", "find", "pneumonias"), ("specificity", "clear", "normals"))
        if math.isfinite(point[name].value)
    ]
    at = f"at the operating point {evaluation.operating_point} they {' and '.join(told)}."
    if not math.isfinite(scope.ranking["auroc"].value):
        return f"On {whom}, all of one kind, {at}"
    area = word_estimate("auroc", scope.ranking["auroc"])
    return f"On {whom} the models tell normal from pneumonia with an AUROC of {area}; {at}"


def write_verdict(evaluation: CollectionEvaluation) -> list[str]:
    """Return what the figures mean for whoever wants to use the models on such images."""
    scope = evaluation.scopes["all"]
    area, best = scope.ranking["auroc"], scope.ranking["specificity_at_sensitivity"]
    reached = scope.points[evaluation.operating_point]["specificity"]
    said = []
    if not math.isfinite(area.value):
        said.append("One class is missing, so that nothing here tells how well the two are told apart.")
    elif area.high < CHANCE:
        said.append(
            "They rank normals above pneumonias more often than not: on these images they are worse than a coin, and "
            "no threshold mends that. Do not use them on images like these."
        )
    elif area.low <= CHANCE:
        said.append("That cannot be told from chance. Do not use them on images like these.")
    elif area.low >= GOOD and best.value - reached.value > TOLERANCE:
        said.append(
            f"The ranking is better than the threshold: at 97% sensitivity these very images would allow a "
            f"specificity of {word_estimate('specificity', best)}. The thresholds were chosen on other images and "
            "do not carry over."
        )
    if evaluation.confounders is not None:
        said += _weigh_shortcuts(evaluation.confounders)
    if area.high < GOOD and evaluation.rejections.refused["all"].value < FEW_REFUSED:
        said.append("The gate, which should turn away what the models were not made for, lets nearly all of it in.")
    return said


def _weigh_shortcuts(shortcuts: Confounders) -> list[str]:
    untouched, hidden = (shortcuts.metrics[name]["auroc"] for name in ("untouched", "lung_area_hidden"))
    if not (untouched.low > CHANCE and hidden.low > CHANCE):
        return []
    return [
        "Not all of that is read from lungs: with the lungs of all films hidden, the AUROC is still "
        f"{word_estimate('auroc', hidden)}. The figures may owe much to how the films were taken, and need not carry "
        "over to another source."
    ]


def write_corrected(evaluation: CollectionEvaluation) -> str:
    """Return how to read figures of corrected probabilities; nothing where they are as the models give them."""
    if not evaluation.corrected:
        return ""
    return (
        "Probabilities were corrected for the shares of the classes that the models themselves estimated on these "
        "images. Thresholds, refusals, doubts, sets and what is told without lungs are those of uncorrected "
        "probabilities."
    )


def write_three_class(evaluation: CollectionEvaluation) -> str:
    """Return what is known of the three classes, or why nothing is."""
    three_class = evaluation.scopes["all"].three_class
    if three_class is None:
        return "The labels tell no bacterial from viral pneumonia, so that figures of three classes are left out."
    accuracy = word_estimate("accuracy", three_class.metrics["accuracy"])
    return (
        f"Each image is given its most probable class: {accuracy} get the right one of three. Bacterial and viral "
        "are told apart by file names in the collection, and on a film often cannot be."
    )


def write_calibration(evaluation: CollectionEvaluation) -> list[str]:
    """Return whether probabilities mean what they say."""
    said = []
    for kind, what in (("pneumonia", "pneumonia"), ("three_class", "the most probable of three classes")):
        if kind not in evaluation.reliability:
            continue
        found = evaluation.reliability[kind]
        gap = found.promised_mean - found.observed_mean
        lean = "on the whole neither too high nor too low"
        if abs(gap) > TOLERANCE / 2:
            lean = f"on the whole too {'high' if gap > 0 else 'low'}"
        said.append(
            f"The probability of {what} misses what came true by {100 * found.error.value:.1f} points in the mean; a "
            f"perfectly calibrated one would by {100 * found.by_chance:.1f} by chance on so many images. It is {lean}: "
            f"{word_value('share', found.promised_mean)} promised, {word_value('share', found.observed_mean)} seen."
        )
    if not evaluation.corrected:
        said.append(
            "The models' probabilities are those of a reader who meets normal, bacterial and viral equally often; "
            "where the classes are otherwise, part of the gap is that."
        )
    return said


def write_conformal(evaluation: CollectionEvaluation) -> str:
    """Return whether the sets keep their promise."""
    if evaluation.conformal is None:
        return (
            "The card of these models holds no limit for sets of classes, so that this part is left out. Models that "
            "are exported anew have one."
        )
    promised, figures = evaluation.conformal.promised, evaluation.conformal.figures
    reached = figures["all"]["coverage"]
    said = (
        f"Each image gets the classes that it may be of, so that the true one is among them in {promised:.0%} of all."
    )
    verdict = "The promise holds within its interval"
    if reached.high < promised:
        verdict = "The promise is broken, as these images are not like those that it was made on"
    worst = min(figures, key=lambda name: figures[name]["coverage"].value)
    return (
        f"{said} {verdict}: {word_estimate('coverage', reached)}. It is made over all images and not for each class; "
        f"the lowest is {worst}, with {word_estimate('coverage', figures[worst]['coverage'])}."
    )


def write_selective(evaluation: CollectionEvaluation) -> str:
    """Return what withholding the least sure answers gains."""
    curve = evaluation.selective["pneumonia"]
    everyone, most = (curve.at_shares[share] for share in (1.0, 0.8))
    if most.value <= everyone.value:
        return "Withholding the least sure answers does not help: the models do not know what they do not know here."
    return (
        f"Answering only the surest 80% raises the accuracy of normal or pneumonia from "
        f"{word_value('accuracy', everyone.value)} to {word_value('accuracy', most.value)}."
    )


def write_gate(evaluation: CollectionEvaluation) -> list[str]:
    """Return what the reader turned away or left open, and whether it was right to."""
    gate = evaluation.rejections
    refused, not_sure, unlike = (
        word_estimate("share", found["all"]) for found in (gate.refused, gate.not_sure, gate.unlike)
    )
    said = [
        f"{refused} of the images are refused, and {not_sure} are read as not sure; {unlike} are read though they look "
        "unlike the training images, with a remark."
    ]
    if {"sure", "not_sure"} <= set(gate.answers):
        sure, held = gate.answers["sure"], gate.answers["not_sure"]
        verdict = "Doubt is misplaced"
        if held.value < sure.value:
            verdict = f"Doubt {'is' if held.high < sure.low else 'seems'} well placed"
        said.append(
            f"{verdict}: answers given for sure are right in {word_estimate('accuracy', sure)}, those held back would "
            f"have been in {word_estimate('accuracy', held)}."
        )
    return said


def write_prior_shift(evaluation: CollectionEvaluation) -> list[str]:
    """Return whether the estimated shares of the classes can be believed."""
    shift = evaluation.label_shift
    if shift is None:
        return ["There are too few images to estimate how frequent the classes are."]
    said = ["From the probabilities alone, without any label, the shares of the classes are estimated as below."]
    missed = [name for name, share in evaluation.true_shares.items() if not _holds(shift.shares[name], share)]
    if missed:
        said.append(
            f"The labels say otherwise for {', '.join(missed)}: more than the shares differs from training here, and "
            "correcting by the estimate is not to be trusted."
        )
    elif evaluation.true_shares:
        said.append("The intervals hold what the labels say.")
    return said


def write_error_stretches(evaluation: CollectionEvaluation) -> str:
    """Return how many of the errors stand together along the file names, and what that may mean."""
    found = evaluation.error_runs
    if not found:
        return (
            "In the order of the file names, errors stand together no more than chance has it, or patients are too few."
        )
    wrong = sum(stretch.num_wrong for stretch in found)
    images = sum(stretch.num_images for stretch in found)
    return (
        f"{wrong:,} errors stand together, on {images:,} images that follow each other in the order of the file names. "
        "Films misread so may have been made or labelled alike: look whether letters, exposure and cut are those of "
        "another class. Patients shuffled along the names give such a stretch in at most one of a hundred trials."
    )


def write_limits(evaluation: CollectionEvaluation) -> list[str]:
    """Return what to bear in mind before believing any figure."""
    sick = evaluation.images.labels.mean()
    limits = [
        "Intervals resample the patients of this collection. They do not tell how another collection would come out.",
        "Labels are those of the collection; nobody read the images again.",
        f"Accuracy, precision and AUPRC hang on how frequent the classes are: here {sick:.1%} are pneumonias.",
        "A subgroup of a few dozen images tells only large differences, and of many subgroups some differ by chance.",
        "The specificity at 97% sensitivity takes its threshold from these very images, and promises nothing.",
        "The calibration error is never negative, so that chance alone makes it larger, the more so in its interval.",
    ]
    if evaluation.split in ("train", "val", "all"):
        limits.insert(
            0,
            f"The split is {evaluation.split}: it may hold images that these models were trained on, or their "
            "thresholds chosen on, which makes every figure too good.",
        )
    return limits


def _holds(estimate: Estimate, value: float) -> bool:
    return not math.isfinite(estimate.low) or estimate.low <= value <= estimate.high
