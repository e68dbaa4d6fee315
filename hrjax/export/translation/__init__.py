"""Translates a program that JAX traced into a graph of ONNX, and writes it."""
