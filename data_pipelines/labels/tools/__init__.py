"""One module per annotation tool: from its files to `columns.Labels`."""
