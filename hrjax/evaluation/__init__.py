"""From a split to predictions, metrics, tables and files."""
