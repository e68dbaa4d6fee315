"""Weights from anywhere: checkpoints, published files, downloads."""
