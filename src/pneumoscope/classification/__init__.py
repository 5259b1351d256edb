"""Task 1: train, evaluate and cross-validate classifiers.

classifier.py          training and evaluation
losses.py              losses with class weights and unknown labels
cross_validation.py    folds by patient, by file-name series, or by image
calibration_report.py  calibration, operating points and metrics for the model card
"""
