"""Task 3: anomaly detection. Detectors are fitted on normals only; each method has one file.

registry.py         all detectors by name
detector.py         interface of detectors
features.py         patch features from layers of a model
autoencoder.py      autoencoder of the reference study
normality_model.py  shipped normality model: features learned from synthetic anomalies
mahalanobis.py      Mahalanobis distance
padim.py            PaDiM
patchcore.py        PatchCore
evaluation.py       thresholds from held-out normals, metrics on test
"""
