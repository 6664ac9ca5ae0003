"""Training: the step, the loop, the distributed set-up, checkpoints and the folder of a run."""
