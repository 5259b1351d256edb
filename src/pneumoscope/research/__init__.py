"""Method benchmarks, ablations and label audits: tables, JSON and CSV.

neighbors_benchmark.py  retrieval, and uncertainty by nearest neighbors
anomaly_benchmark.py    all anomaly detectors
explain_benchmark.py    all explanation methods
ablation.py             configurations with one part changed
label_audit.py          labels that classifier and neighbors contradict
label_error_runs.py     contiguous runs of contradicted subtypes
run.py                  each of these from the folder of a study to JSON and CSV
write.py                the JSON and CSV files
"""
