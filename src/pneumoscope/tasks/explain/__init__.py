"""Task 4: why the net of task 1.A decides as it does.

gradcam.py      heat-maps of a class in the eyes of a layer
patches.py      feature maps, and the image patches that excite the filters most
centrality.py   the pictures' claims as figures
explanation.py  all of it in one call
"""
