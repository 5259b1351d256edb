"""Architectures, one file each. `models.registry` imports all files of this folder; each registers its architectures.

reference.py         the three architectures of the reference study
efficientnet_lite.py EfficientNet-Lite; `efficientnet-lite0` is the shipped classifier
pretrained.py        backbones of `keras.applications`
"""
