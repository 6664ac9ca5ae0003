"""The physics loop: the substeps between two decisions in compiled code (osc_loop.py), bit-equal to robosuite's own.

`stepper.py` drives it, `requirements.py` checks what it assumes about an environment.
"""
