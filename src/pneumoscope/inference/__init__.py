"""Radiographs to predictions with ONNX models, without Keras.

cards.py         model cards: what an exported model is, and its metrics
model_set.py     load the models of a reader and check them against their cards
ood.py           detect out-of-distribution inputs
reading.py       the prediction for one radiograph
explanation.py   heatmaps and other maps of a radiograph
decision.py      outputs of the models to a decision
reader.py        predict, explain and embed radiographs
batch.py         predictions for many files, in threads
onnx_model.py    classifiers of any tool as ONNX files
illustration.py  a radiograph and its heatmap at display size
table.py         predictions as a table on disk; a stopped run can continue it
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
