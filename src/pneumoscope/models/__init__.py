"""Keras: architectures, training, and saved models."""

import logging
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
