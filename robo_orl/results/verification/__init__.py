"""The checks of stored results: each takes what is stored and returns its contradictions, one sentence each."""
