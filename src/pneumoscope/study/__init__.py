"""The whole pipeline in order, and one stage again.

pipeline.py    all stages in order
leakage.py     what a random split by image gains
rerun.py       one task on new files with the models of a study
summary.py     the content of `results.json`
provenance.py  versions and hardware
"""
