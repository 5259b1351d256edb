"""Keras: the nets, how they are trained, and the folder that holds a trained one."""

import logging
import os

from pneumoscope.models.quiet import quieten_tensorflow

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
quieten_tensorflow()
