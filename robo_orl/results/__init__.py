"""Results on disk: records, their container, verification and statistics."""
