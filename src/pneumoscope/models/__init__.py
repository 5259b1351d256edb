"""Keras models: architectures, training and saved models.

registry.py         architectures by name
architectures/      one file per architecture
settings.py         training settings of each configuration
settings_file.py    training settings as a TOML file
training.py         training loop with a checkpoint per epoch
history.py          `history.csv` of a training, and TensorBoard
optimizer.py        optimizer with layer-wise learning rates
augmentation.py     random augmentation
card.py             `card.json` of a trained model
saved_model.py      a trained model as a folder
flatten.py          flat copies of models, with every layer accessible by name
keras_file.py       any `.keras` file as a model of gray levels
prediction.py       probabilities of a classifier
linear.py           a classifier as one flat model with logits as outputs
gradients.py        gradients by TensorFlow, JAX or PyTorch
keras_import.py     import of Keras without messages of TensorFlow
receptive_field.py  receptive fields, and upsampling of feature maps by them
"""

import logging
import os

from pneumoscope.models.keras_import import quiet_keras_import

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors are raised in Python, too
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
quiet_keras_import()
