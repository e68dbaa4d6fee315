"""Weights from anywhere: checkpoints, files of other programs, downloads, and model cards."""
