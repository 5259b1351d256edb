"""Metrics with confidence intervals.

classification.py    metrics of classifiers and scores
weighted.py          the same metrics on weighted images
operating_points.py  decision thresholds of the positive class or of each finding
intervals.py         95 % intervals by bootstrap over patients
paired.py            paired comparison of two classifiers
calibration.py       vector scaling, or Platt scaling per finding
reliability.py       reliability diagram and expected calibration error
conformal.py         split conformal prediction
selective.py         selective classification: accuracy by coverage
label_shift.py       class prevalence from unlabeled images
"""
