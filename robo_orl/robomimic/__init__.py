"""robomimic's own algorithms as references, and its interfaces around our tasks and policies."""
