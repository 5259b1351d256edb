"""Evaluation of readers, other classifiers and predictions of any tool on a labeled collection, without Keras.

Every file of the collection counts or is listed with a reason.

evaluate.py         all metrics of a collection
predictions.py      the same for a table of predictions
predictor.py        models, their operating points and decisions
gather.py           images of a collection and their predictions, in the classes of the model
subgroups.py        metrics of subgroups
ood.py              rejections, and the OOD detector on invalid inputs
confounders.py      metrics with parts of the images hidden
pixel_baselines.py  baselines on exposure, gray levels, borders and file size
"""
