"""After the data end: a trained policy collects episodes in its task and learns from them, and what that costs."""
