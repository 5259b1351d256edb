"""One function for each figure: a result goes in, a matplotlib `Figure` comes out.

Every `draw_…` has a `describe_…` beside it, which returns the alternative text with the numbers.

    curves.py       learning curves
    scores.py       confusion matrix; ROC and precision-recall
    dots.py         metrics as dots with intervals, for the figures below
    evaluation.py   ROC with operating points; reliability; coverage; selective prediction; subgroups
    confounders.py  metrics with lungs, borders or letters hidden
    comparison.py   reference study, this study and publications; leakage
    neighbors.py    k on validation; nearest reference cases; t-SNE map
    anomaly.py      scores against thresholds; image, reconstruction and anomaly map
    explain.py      heatmaps of each layer; feature maps; patches; centrality
    exposure.py     gray levels by class
    sheet.py        many small images as one image
    palette.py      colors, style, and how a figure is saved and put on a page
"""
