"""Task 3: anomaly detection by methods that are fitted on normals only.

detector.py             what every detector does, and what it is fitted on
evaluation.py           anomaly scores of the test images against thresholds from held-out normals
features.py             patch features out of layers of a network
autoencoder.py          the reference autoencoder
mahalanobis.py          distance from one Gaussian
padim.py                distance from one Gaussian at each position (PaDiM)
patchcore.py            distance from a memory bank of patches (PatchCore)
synthetic_anomalies.py  normals with synthetic opacities and pasted patches, with their masks
normality_model.py      the shipped model: features learned by classifying synthetic anomalies, and Mahalanobis distance
int8_scores.py          correction of the anomaly score of an int8 graph
registry.py             all detectors by name, and loading of trained ones
benchmark.py            all detectors on one dataset

A new detector is one file, and one line in `registry.DETECTORS`.
"""
