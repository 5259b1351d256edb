"""Figures and the one-file report: draws what it is handed, computes nothing."""
