"""The command line: parse options, call the package, print results.

main.py        the program
study.py       `study`, and its models on new images
training.py    `train`, `crossvalidate`
inference.py   `read`, `app`, `export`
evaluation.py  `evaluate`
data.py        `data`: download, arrange, audit, draw
research.py    `research`: benchmarks, ablations, label audits
options.py     options that commands share
output.py      tables and JSON on standard output
"""
