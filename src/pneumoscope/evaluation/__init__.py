"""What a model set is worth on a collection, through the reader: no Keras, and no image is passed over in silence.

assess.py      from a collection to an `CollectionEvaluation`
gather.py      which images, and what the reader makes of each
scopes.py      figures on some of the images
gate.py        what was refused or left unsure, and what that costs and spares
subgroups.py   the same figures by class, file series, exposure, and what a manifest tells
error_runs.py   errors that stand together along the file names
robustness.py  what is told without lungs, and what the gate makes of wrong inputs
"""
