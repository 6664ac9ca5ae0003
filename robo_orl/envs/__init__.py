"""Simulated tasks: a robosuite environment with stages, start states, dead time and a time-out, one step a decision.

The physics loop is in `native`, scripted experts in `demonstrators`, off-screen pictures in `rendering`.
"""
