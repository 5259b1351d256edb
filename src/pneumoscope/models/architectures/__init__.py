"""Architectures, one file each. `models.registry` imports all files of this folder; each registers its architectures.

reference.py       the three architectures of the reference study
compact_resnet.py  the shipped classifier, `compact_resnet`
pretrained.py      backbones of `keras.applications`
encoder.py         the encoder of the normality model
"""
