"""Everything drawn: phantoms, lesions, synthetic anomalies and invalid inputs."""
