"""READING: trained models and a file give an answer, its reason and its doubts; knows no Keras.

model_set.py   the models of a reader as a folder: loaded, and checked against their cards
domain.py      whether an image looks like those that the models were trained on, and what is wrong if not
invalid_inputs.py  pictures that are no such film
gate.py        what is let through of films and of such pictures
decode.py      one file to what a reader takes
reading.py     the answer as a plain value
reader.py      images to answers
illustration.py the film and the heat on it, as pictures
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
