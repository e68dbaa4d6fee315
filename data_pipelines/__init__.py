"""Readers, augmentation and batches for human pose data: NumPy, OpenCV and grain, without JAX."""
