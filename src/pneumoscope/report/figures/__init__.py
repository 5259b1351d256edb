"""Figures: each `draw_...` function takes a result and returns a matplotlib `Figure`.

Each figure has an alternative text. Tables of the pages contain the numbers.

    palette.py      colors and style; saving and embedding of figures
    sheet.py        a grid of small images as one image
    curves.py       learning curves
    scores.py       confusion matrix; ROC and precision-recall curves
    evaluation.py   operating points; reliability diagram; subgroups
    neighbors.py    choice of k; nearest neighbors; t-SNE map
    anomaly.py      histogram of anomaly scores; images, reconstructions and anomaly maps
    explain.py      heatmaps; feature maps; patches
    exposure.py     mean gray level by class
"""
