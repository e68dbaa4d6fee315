"""Drawn people: datasets without a download."""
