"""One module per program whose predictions may serve as labels, to `columns.Labels`."""
