"""Task 3: anomaly detection. Detectors are fitted on normals only; each method has one file.

registry.py         all detectors by name
detector.py         interface of detectors
autoencoder.py      autoencoder of the reference study
features.py         patch features of a frozen pretrained network
knn.py              distance to the nearest normals
mahalanobis.py      Mahalanobis distance
padim.py            PaDiM
patchcore.py        PatchCore
normality_model.py  the included detector, `knn.py`, as a saved model
evaluation.py       thresholds from held-out normals, metrics on test
"""
