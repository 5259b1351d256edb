"""Results on disk: value types, archives, JSON files, and the ledger of a study."""
