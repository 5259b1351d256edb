"""One file per architecture; each registers itself, and `models.registry` finds the files of this folder."""
