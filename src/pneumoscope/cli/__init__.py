"""Command line: parses options, calls the package, prints results.

main.py        the program
training.py    `train`, `crossvalidate`, `study`
inference.py   `read`, `app`, `explain`, `export`
evaluation.py  `evaluate`, `neighbors`
data.py        `data`: `audit`, `download`, `phantoms`
research.py    `research`: benchmarks, ablations, label audits
options.py     shared options
output.py      tables and JSON on standard output
"""
