"""Synthetic images: chest phantoms, lesions, opacities in radiographs and invalid inputs.

phantom.py              phantoms of several label sets with lesion masks, as arrays or as files
anatomy.py              anatomy of the normal chest
lesions.py              vessels and findings: consolidations, interstitial patterns, nodules, effusions
opacity.py              synthetic opacities in radiographs of normals
invalid_inputs.py       invalid inputs to train and test the OOD detector
lungs.py                lung segmentation by an atlas of phantoms
markers.py              detection of markers near the image border
"""
