"""Method benchmarks and label audits, written as tables, JSON and CSV.

anomaly_benchmark.py    anomaly detectors
explain_benchmark.py    explanation methods
label_audit.py          labels contradicted by classifier and neighbors
label_error_runs.py     contiguous error runs inside a group of two classes
run.py                  run each of these for a study folder
"""
