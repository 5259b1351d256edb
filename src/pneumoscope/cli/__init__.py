"""Command line: parses options, calls the package, prints results.

main.py        the program
training.py    `train`, `crossvalidate`, `study`
read.py        `read`; archive.py has its options for archives
inference.py   `app`, `explain`, `export`
pacs.py        `listen`, `pacs`
evaluation.py  `evaluate`
data.py        `data`: `prepare`, `audit`, `download`, `phantoms`
research.py    `research`: benchmarks, label audits
options.py     shared options
output.py      tables and JSON on standard output
"""
