"""Train, evaluate, explain and use models that detect pneumonia on chest radiographs.

Research use only. Not a medical device.

Data flows one way through the packages:

    data, phantoms  ->  models  ->  classification, neighbors,  ->  export, inference,  ->  report  ->  app, pacs, cli
    (files to arrays)   (Keras)     anomaly, explain                study, evaluation,      (figures    (call and
                                    (tasks 1 to 4)                  research (results)       and pages)  print)

Importing this package is fast: `__init__.pyi` lists the public names, and each loads on first use.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("pneumoscope")

RESEARCH_USE_ONLY = "Research use only. Not a medical device."

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["RESEARCH_USE_ONLY", "__version__"]
