"""Class names of the data sets that the package knows."""

BINARY_CLASSES = ("normal", "pneumonia")
THREE_CLASSES = ("normal", "bacterial", "viral")
