"""ONNX files: read like untrusted input, and pruned without the code that they were trained with."""
