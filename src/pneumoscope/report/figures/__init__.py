"""One function a picture: a result goes in, a matplotlib `Figure` comes out.

Every `draw_…` has a `describe_…` beside it: the alternative text, with the numbers in words.

    curves.py       learning curves
    scores.py       confusion matrix; ROC and precision-recall
    evaluation.py   ROC with operating points; reliability; coverage of sets; selective reading; subgroups
    comparison.py   paper, ours and published side by side; leakage
    neighbors.py    k tried; nearest known images; t-SNE map
    anomaly.py      errors against thresholds; original, reconstruction and error map
    explain.py      Grad-CAM of each layer; feature maps; exciting patches; centrality
    shortcuts.py    what is told with lungs, frame or letters hidden
    sheet.py        many small images as one picture
    palette.py      colors, style, and how a figure is kept on disk and put on a page
"""
