"""Task 4: explanations of the predictions of a classifier, one file per family of methods, and their evaluation.

explanation.py     heatmaps, feature maps and patches of a classifier in one call
methods.py         all methods by name
scorer.py          logits and their gradients, which the methods share
cams.py            class-activation maps
gradients.py       methods by gradients at the pixels
perturbations.py   occlusion and RISE
patches.py         feature maps, and patches that activate a filter most
counterfactual.py  the nearest images of the other class
probes.py          effect of exposure, pose, markers and borders
cases.py           the images that methods are evaluated on
quality.py         localization, repeatability, dependence on the weights
faithfulness.py    deletion, ROAD, sensitivity-n
centrality.py      centrality of heatmaps, and the pointing game
verdict.py         the metrics of a method as a sentence
"""
