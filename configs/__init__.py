"""Training recipes: one file per network family and dataset."""
