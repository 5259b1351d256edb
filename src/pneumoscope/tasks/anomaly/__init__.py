"""Task 3: what is odd to a detector that has only seen normals.

detector.py       what every detector does: fitted on normals, it scores an image and each of its pixels
protocol.py       the threshold from held-out normals, and what is flagged with it
autoencoder.py    the report's autoencoder, alone and as a detector
redrawing.py      an autoencoder that cannot copy, and a variational one
features.py       patches of images in the eyes of a net: of photographs, of normals, or one that has seen sick images
pretraining.py    a net that learned from normals alone, without any label
kinds.py          a net that learned to name what was drawn into normals
gaussian.py       distance from normals by one Gaussian, or by one at each place (PaDiM)
rounding.py       what whole numbers of 8 bits do to a score, taken off again
patchcore.py      distance from remembered patches of normals (PatchCore)
distillation.py   where a student that learned from normals fails its teacher
spoiling.py       normals with drawn opacities and pasted patches, and where those are
lesion_net.py     a net that tells normals from their own spoiled copies
ensemble.py       several detectors as one
trained.py        what a model that a study keeps comes to
normals_model.py  the one that a study trains for the reader, and how it is kept
loading.py        a detector out of its folder
methods.py        all of them by name
benchmark.py      all of them on one set, side by side
"""
