"""Train, evaluate, explain and use models that detect pneumonia on chest radiographs.

Research use only. Not a medical device.

    >>> import pneumoscope as ps
    >>> reader = ps.Reader.open()
    >>> radiograph = ps.draw_phantoms(1, size=256, seed=0).images[0]  # or a path, bytes, a PIL image
    >>> reading = reader.predict(radiograph)
    >>> explanation = reader.explain(radiograph, label="pneumonia")

The packages form layers. A package imports from its own line and from the lines below it:

    cli                                             command line
    app, pacs                                       web app; DICOM output
    adaptation                                      a reader to the images of another hospital
    report                                          figures, pages and tables
    research, evaluation, study                     benchmarks; any model on any collection; the reference study
    export, inference                               Keras to ONNX; radiographs to predictions
    classification, neighbors, anomaly, explain     the four tasks
    models, metrics                                 architectures and training; metrics with intervals
    data, phantoms                                  files to arrays; synthetic radiographs
    io                                              results and files

The stub `__init__.pyi` lists the public names. Each name is imported on first use, so that importing the package is
fast.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("pneumoscope")

RESEARCH_USE_ONLY = "Research use only. Not a medical device."

__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["RESEARCH_USE_ONLY", "__version__"]


def __dir__() -> list[str]:
    return __all__
