"""Task 1: train, evaluate and cross-validate classifiers."""
