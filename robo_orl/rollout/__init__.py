"""Simulators as processes: one pool (pool.py) that starts, supervises and replaces them for recording and evaluation.

`process.py` is what such a process runs; `episodes.py` plays a policy's episodes in them.
"""
