"""Method benchmarks and label audits, written as tables, JSON and CSV.

anomaly_benchmark.py    anomaly detectors
explain_benchmark.py    explanation methods
run.py                  run each of these for a study folder
"""
