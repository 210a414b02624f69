"""Decoders with a cache of keys and values: one compiled step, and what generates with it."""
