"""From a split to batches: order, workers, mixtures."""
