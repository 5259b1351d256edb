"""Numbers only: metrics and their intervals."""
