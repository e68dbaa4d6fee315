"""Transforms of one example on its way into a batch."""
