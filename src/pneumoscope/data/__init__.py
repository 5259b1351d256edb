"""Files to arrays: reading, listing, splitting and auditing radiographs."""
