"""Runners: the places where the jobs of a suite run."""
