"""Evaluation of a model set on a labeled collection, without Keras: every image counts or is listed with a reason.

evaluate.py         a collection to a `CollectionEvaluation`
gather.py           the images of a collection, and the reading of each
subgroups.py        metrics on some of the images
ood.py              rejected and uncertain images, and what the OOD detector makes of invalid inputs
confounders.py      metrics with parts of the images hidden
pixel_baselines.py  what exposure, borders and file sizes predict without any lung
error_runs.py       contiguous errors along the file names
"""
