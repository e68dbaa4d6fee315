"""One module per dataset whose files no tool writes: from its files to `columns.Labels`."""
