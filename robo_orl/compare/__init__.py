"""Two policies side by side: what differs in their settings, and whether it mattered on shared start states."""
