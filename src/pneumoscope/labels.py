"""Class names of the data sets that the package knows."""

BINARY_CLASSES = ("normal", "pneumonia")
THREE_CLASSES = ("normal", "bacterial", "viral")
# By the task of a study.
TASK_CLASSES = {"binary": BINARY_CLASSES, "three_class": THREE_CLASSES}
