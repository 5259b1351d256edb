"""Export of trained models to ONNX.

reader.py        export a classifier, with what belongs to it, as a reader
ood.py           fit the OOD detector
study.py         export the classifier of a study
keras_graphs.py  Keras models with all outputs of an export
onnx_file.py     Keras to ONNX, with a parity check
"""

import pneumoscope.models  # noqa: F401 sets the environment of Keras before its first import
