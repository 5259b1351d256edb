"""Task 3: anomaly detection by methods that are fitted on normals only, one file per method.

registry.py         all detectors by name
detector.py         the interface of detectors
features.py         patch features of a network
autoencoder.py      the reference study's autoencoder
normality_model.py  the shipped detector: features learned from synthetic anomalies
mahalanobis.py      Mahalanobis distance from normals
padim.py            PaDiM
patchcore.py        PatchCore
evaluation.py       thresholds from held-out normals, metrics on test
"""
