"""Adaptation of an exported reader to the radiographs of another hospital, with few labeled images.

adapt.py        adapt a reader and write the new one
local_fit.py    calibration, thresholds and last layer fitted on local images, and their cross-validation
last_layer.py   the last layer of an ONNX classifier
"""
