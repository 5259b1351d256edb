"""Files to arrays: reading, listing, checking, splitting and drawing radiographs."""
