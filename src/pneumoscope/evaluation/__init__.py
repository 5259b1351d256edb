"""Evaluation of exported models on a labeled collection, without Keras.

Every file of the collection counts or is listed with a reason.

evaluate.py         all metrics of a collection
gather.py           images of a collection and their readings
subgroups.py        metrics of subgroups
ood.py              rejections, and the OOD detector on invalid inputs
confounders.py      metrics with parts of the images hidden
pixel_baselines.py  baselines on exposure, gray levels, borders and file size
error_runs.py       contiguous error runs
"""
