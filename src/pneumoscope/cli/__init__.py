"""Command line: parses options, calls the package, prints results.

main.py        the program
study.py       `study`, `neighbors`, `map`, `anomaly`, `explain`
training.py    `train`, `crossvalidate`
inference.py   `read`, `app`, `export`
evaluation.py  `evaluate`
data.py        `data`: `prepare`, `audit`, `download`, `phantoms`
research.py    `research`: benchmarks, ablations, label audits
commands.py    the class of all commands
options.py     shared options
output.py      tables and JSON on standard output
"""
