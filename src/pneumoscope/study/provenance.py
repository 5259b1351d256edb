"""Versions of the libraries, and the hardware."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pneumoscope.models.settings import choose_precision


def list_versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of the numerical libraries."""
    import keras

    versions = {"python": platform.python_version(), "backend": keras.backend.backend()}
    for package in ("pneumoscope", "keras", "tensorflow-cpu", "tensorflow", "jax", "torch", "numpy", "scikit-learn"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def describe_hardware() -> dict[str, Any]:
    """Return the processor, the number of cores, the memory in GiB and the training precision."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text(encoding="utf-8", errors="replace").splitlines() if names.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory / 2**30, 1),
        "precision": choose_precision(),
    }
