"""Task 4: explanations of the predictions of a classifier.

methods.py           all methods behind one call: `explain`
cams.py              class-activation maps
gradients.py         gradients at the pixels
perturbations.py     removal of parts of the image
scorer.py            scores and gradients that the methods use
patches.py           feature maps, and the image patches that activate the filters most
counterfactual.py    nearest training images of the other class, and the differences
explanation.py       heat-maps, feature maps and patches of a study's classifier in one call

Evaluation of the methods:

quality.py           localization, repeatability, dependence on the weights
faithfulness.py      effect of the hottest pixels on the prediction
centrality.py        centrality of the heat
probes.py            effect of changes that are no sign of disease
cases.py             the images of the evaluation
benchmark.py         all of it, methods side by side
verdict.py           how far to trust each method, as a sentence
"""
