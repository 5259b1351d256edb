"""Task 2: embeddings, k-nearest neighbors, retrieval and the map."""
