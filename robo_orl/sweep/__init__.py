"""Suites: cells become jobs, a schedule runs them, and their results become records."""
