"""Synthetic datasets of drawn people, for training without a download."""
