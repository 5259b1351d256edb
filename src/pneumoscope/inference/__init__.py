"""Files to predictions, by ONNX models and without Keras.

cards.py         model cards: what an exported model is, and how it was measured
model_set.py     the models of a reader: loaded from a folder and checked against their cards
ood.py           the detector of out-of-distribution inputs
decode.py        one file to the input of the models
reading.py       the prediction for one file as a plain value
reader.py        images to predictions
batch.py         many files to predictions, in threads
table.py         predictions as a table on disk that a stopped run continues
illustration.py  a radiograph and its heatmap at the size of a picture
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
