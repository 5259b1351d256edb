"""Everything drawn: phantoms, lesions, synthetic anomalies and invalid inputs.

phantom.py              phantoms of all classes with their masks, as arrays or as a folder of files
anatomy.py              the healthy chest
lesions.py              vessels, consolidations and interstitial streaks
opacity.py              opacities pasted on radiographs of normals
synthetic_anomalies.py  anomalies in the lungs of normals, to train the normality model
invalid_inputs.py       images that are no upright frontal chest radiograph, for the OOD detector
lungs.py                segmentation of the lungs by an atlas of phantoms
markers.py              detection of letters near the edge
"""
