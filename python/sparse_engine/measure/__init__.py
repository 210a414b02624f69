"""How long calls take, and how models are called."""
