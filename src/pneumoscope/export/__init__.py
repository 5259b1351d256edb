"""Trained models as ONNX, with their cards.

model.py         one trained model
study.py         all that a reader needs of a study
keras_graphs.py  Keras models with all outputs of an export
onnx_file.py     Keras to ONNX, compared with Keras
quantization.py  int8
"""

import pneumoscope.models  # noqa: F401 sets the environment of Keras before its first import
