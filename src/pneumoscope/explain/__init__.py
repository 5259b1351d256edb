"""Task 4: explanation methods for classifiers, one file per family, and their evaluation.

explanation.py     heatmaps, feature maps and patches of a classifier
methods.py         all methods by name
scorer.py          logits and gradients, shared by the methods
cams.py            class-activation maps
gradients.py       pixel-gradient methods
perturbations.py   occlusion and RISE
patches.py         feature maps, and patches with the highest activation
cases.py           evaluation images
files.py           heatmaps of single images, for any saved model
quality.py         localization, repeatability, parameter randomization
faithfulness.py    ROAD
centrality.py      centrality of heatmaps, pointing game
verdict.py         summary sentence of the metrics of a method
"""
