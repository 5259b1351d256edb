"""Task 4: explanations of the predictions of a classifier, one file per family of methods, and their evaluation."""
