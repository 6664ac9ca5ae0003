"""Demonstrations: robomimic's HDF5 files, their validation and conversion, and the windows that training reads."""
