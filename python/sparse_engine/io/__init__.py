"""Models in files: read as data from a stranger, written whole or not at all."""
