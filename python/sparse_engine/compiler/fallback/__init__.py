"""Models with operations that are not covered: compiled segments, and segments in another runtime between them."""
