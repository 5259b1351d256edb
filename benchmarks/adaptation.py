"""Adapt a reader to samples of another hospital's images, and evaluate it on the remaining images.

    python benchmarks/adaptation.py DATA [--model READER] [--classes normal,pneumonia] [--draws 10]

Each draw samples patients until every class has its share of the images. The first draw is cross-validated as `adapt`
does it; all draws are evaluated on the images that they leave out.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from pneumoscope import RESEARCH_USE_ONLY, LabelOptions, Reader
from pneumoscope.adaptation.adapt import _collect, _gather
from pneumoscope.adaptation.local_fit import compare_metrics, cross_validate_fit, fit_locally
from pneumoscope.evaluation.predictor import describe_model
from pneumoscope.io.json_file import to_plain

SIZES = (100, 200)


def draw(labels: np.ndarray, patients: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return `(n,)` bool, at most `size` images with equal class counts; no patient is on both sides."""
    counts = np.zeros(labels.max() + 1, int)
    chosen = np.zeros(len(labels), bool)
    for patient in np.random.default_rng(seed).permutation(np.unique(patients)):
        rows = patients == patient
        added = counts + np.bincount(labels[rows], minlength=len(counts))
        if (added <= size // len(counts)).all():
            chosen, counts = chosen | rows, added
    return chosen


def main() -> None:
    """Print one table per number of images."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--model")
    parser.add_argument("--classes")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", type=Path, help="JSON file of all metrics")
    arguments = parser.parse_args()
    options = LabelOptions(classes=tuple(arguments.classes.split(",")) if arguments.classes else None)
    reader = Reader.open(arguments.model, num_threads=1)
    gathered, stack = _gather(describe_model(reader), arguments.data, options)
    images, threshold = _collect(reader, gathered, stack), reader.threshold("balanced")
    views = np.unique(gathered.table["view"].to_numpy().astype(str), return_inverse=True)[1]
    results = {}
    for size in SIZES:
        for last_layer in (False, True):
            held_out, crossed = [], None
            for seed in range(arguments.draws):
                chosen = draw(images.labels, images.patients, size, seed)
                local, rest = images.select(chosen), images.select(~chosen)
                crossed = crossed or cross_validate_fit(local, threshold, last_layer=last_layer)
                fit = fit_locally(local, last_layer=last_layer, num_resamples=0)
                new = (fit.predict(rest), np.full(len(rest.labels), fit.thresholds["balanced"]))
                old = (rest.probabilities, np.full(len(rest.labels), threshold))
                metrics = compare_metrics(rest, old, new, np.zeros(len(rest.labels), int))
                within = compare_metrics(rest, old, new, views[~chosen])
                for side, values in metrics.items():
                    values["auroc_within_view"] = within[side]["auroc"]
                held_out.append(metrics)
            name = f"{size} images, {'last layer' if last_layer else 'calibration and thresholds'}"
            results[name] = {"cross_validated": crossed, "held_out": held_out}
            print(f"{name}: first draw cross-validated; {len(held_out)} draws on the other images, mean (sd)")
            for metric in held_out[0]["after"]:
                means = {side: np.array([one[side][metric].value for one in held_out]) for side in ("before", "after")}
                sides = "  ".join(f"{side} {value.mean():.3f} ({value.std():.3f})" for side, value in means.items())
                pair = "  ".join(str(crossed[side].get(metric, "-")) for side in ("before", "after"))
                print(f"  {metric:18} {pair}   {sides}", flush=True)
    print(RESEARCH_USE_ONLY)
    if arguments.out:
        arguments.out.write_text(json.dumps(to_plain(results), indent=1))


if __name__ == "__main__":
    main()
