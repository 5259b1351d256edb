"""Decode one image to the input of the models."""

from pneumoscope.data.decode import decode_file as decode_file
from pneumoscope.data.decode import decode_radiograph as decode_radiograph
