"""The study: all stages in order, and single tasks on new files.

pipeline.py    all stages in order
leakage.py     accuracy of a random split by image against a split by patient
rerun.py       one task on new files with the models of a study
summary.py     the content of `results.json`
provenance.py  versions and hardware
"""
