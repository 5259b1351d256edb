"""Results on disk: value types, archives, JSON files, and the ledger of a study.

results/         result types
archive.py       results as NPZ
json_file.py     dataclasses as JSON
study_folder.py  names of stages and models in the folder of a study, and its ledger
write.py         atomic writes of files and folders
"""
