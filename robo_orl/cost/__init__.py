"""The price of a training step: memory, FLOPs and time, predicted on any machine and measured on this one."""
