"""Readers of untrusted files of weights: nothing in a file runs, and its size bounds the work."""
