"""Command line: parses options, calls the package, prints results.

main.py        the program
training.py    `train`, `crossvalidate`, `study`
inference.py   `read`, `app`, `explain`, `export`
pacs.py        `listen`, `pacs`
evaluation.py  `evaluate`
data.py        `data`: `prepare`, `audit`, `download`, `phantoms`
research.py    `research`: benchmarks, label audits
commands.py    the class of all commands
options.py     shared options
output.py      tables and JSON on standard output
"""
