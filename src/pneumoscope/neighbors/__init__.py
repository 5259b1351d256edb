"""Task 2: embeddings, k-nearest neighbors, retrieval and the map.

knn.py        embeddings, and classification by nearest neighbors
search.py     exact search of embeddings
retrieval.py  precision of the retrieved images
map.py        t-SNE and UMAP
"""
