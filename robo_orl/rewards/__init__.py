"""Where rewards come from: given, annotated, learned or inferred; one file per source, and the copy of a data file."""
