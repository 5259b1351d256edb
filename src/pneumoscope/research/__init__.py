"""Method benchmarks, ablations and label audits: tables, JSON and CSV."""
