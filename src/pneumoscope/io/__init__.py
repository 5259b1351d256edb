"""Results on disk.

results/         result dataclasses
archive.py       results as NPZ
json_file.py     dataclasses as JSON
study_folder.py  the folder of a study: paths of stages and models, ledger
write.py         atomic writes of files and folders
"""
