"""The log of a training run: what is written while it trains, and where."""
