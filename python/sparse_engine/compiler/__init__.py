"""Whole models: captured as a graph, rewritten by passes, and run as one program without torch."""
