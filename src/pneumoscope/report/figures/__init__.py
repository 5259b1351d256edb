"""Figures: each `draw_...` function takes a result and returns a matplotlib `Figure`.

Each figure has an alternative text with its numbers; `describe_...` functions write the longer ones.

    palette.py      colors and style; saving and embedding of figures
    dots.py         metrics as dots with intervals, used by other figures
    sheet.py        a grid of small images as one image
    curves.py       learning curves
    scores.py       confusion matrix; ROC and precision-recall curves
    evaluation.py   operating points; reliability diagram; subgroups
    confounders.py  metrics with lungs, borders or letters hidden
    comparison.py   metrics of the reference study, this study and publications; data leakage
    neighbors.py    choice of k; nearest neighbors; t-SNE map
    anomaly.py      histogram of anomaly scores; images, reconstructions and anomaly maps
    explain.py      heatmaps; feature maps; patches; centrality
    exposure.py     mean gray level by class
"""
