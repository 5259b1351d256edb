"""Task 3: anomaly detection by methods that are fitted on normals only, one file per method."""
