"""One file per architecture; each registers itself, and `models.registry` finds the files of this folder.

reference.py       the three networks of the reference study
compact_resnet.py  the shipped classifier
pretrained.py      backbones of `keras.applications`
encoder.py         the encoder of the normality model
"""
