"""Evaluation of trained policies: success over stored start states, and the error of a critic's values."""
