"""Task 2: embeddings, k-nearest neighbors, retrieval and embedding maps.

knn.py        embeddings and k-NN classification
search.py     exact nearest-neighbor search
map.py        two-dimensional maps: t-SNE and UMAP
"""
