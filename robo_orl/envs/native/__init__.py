"""The physics loop: the substeps between two decisions, compiled (physics_loop.py), bit-equal to robosuite's own.

`stepper.py` drives it, `requirements.py` checks what it assumes about an environment.
"""
