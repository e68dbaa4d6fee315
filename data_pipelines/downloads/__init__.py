"""Where datasets are offered, and how files are downloaded and unpacked."""
