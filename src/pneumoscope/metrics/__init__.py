"""Numbers only: metrics and their intervals.

classification.py    metrics of classifiers and of scores
operating_points.py  thresholds between normal and pneumonia
intervals.py         95 % intervals that resample patients
paired.py            comparison of two classifiers on the same images
calibration.py       vector scaling
reliability.py       reliability curve and expected calibration error
conformal.py         prediction sets with a nominal coverage
selective.py         accuracy by coverage
label_shift.py       class shares without labels
localization.py      pixel AUROC and per-region overlap of anomaly maps
error_runs.py        contiguous runs in the order of file names
"""
