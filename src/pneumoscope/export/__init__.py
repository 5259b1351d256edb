"""Trained models as ONNX, with their cards."""
