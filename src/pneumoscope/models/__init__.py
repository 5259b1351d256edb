"""Keras models: architectures, training and saved models.

registry.py         architectures by name
architectures/      one file per architecture
settings.py         training settings of each configuration
training.py         training loop with a checkpoint per epoch
optimizer.py        optimizer with layer-wise learning rates
augmentation.py     random augmentation
card.py             `card.json` of a trained model
saved_model.py      save and load a trained model
linear.py           flattened copy of a classifier with logits as outputs
gradients.py        gradients on TensorFlow, JAX or PyTorch
backprop.py         backpropagation from ONNX-compatible layers
receptive_field.py  receptive fields, and upsampling of feature maps
"""

import logging
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
