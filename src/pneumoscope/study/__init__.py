"""The study: all stages in order.

pipeline.py    run or reopen a study
stages.py      the stages of one configuration
settings.py    settings of the models
leakage.py     accuracy of a random split by image against a split by patient
summary.py     the content of `results.json`
provenance.py  versions and hardware
"""
