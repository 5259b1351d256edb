"""The mission, one file a task: classify (1), neighbors and map (2), anomaly (3), explain (4)."""
