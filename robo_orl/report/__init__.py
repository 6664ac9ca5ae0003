"""The report of a suite as a page and as a table, drawn from its records."""
