"""Task 4: why a net decides as it does.

methods.py           every way to ask, behind one call: `explain`
cams.py              class-activation maps, of a layer
gradients.py         gradients at the pixels
perturbations.py     what taking parts of the image away does
scorer.py            what all of them ask of a net
gradcam.py           Grad-CAM in the two ways that the pictures use
activation.py        images drawn to excite a class or a filter
patches.py           feature maps, and the image patches that excite the filters most
centrality.py        the pictures' claims as figures
explanation.py       the paper's part of it in one call

How good the maps are:

quality.py           where they lie, and whether they stay there
faithfulness.py      whether they tell what the net used
randomization.py     whether they depend on the net at all
probes.py            what moves the net without sickness
counterfactual.py    the nearest known images of the other class, and what differs
cases.py             which images that is measured on
benchmark.py         all of it, methods side by side
verdict.py           how far to trust each method, as a sentence
"""
