"""Off-screen pictures of a simulator, and the fingerprint of the renderer that made them."""
