"""The config of a command: where it comes from, and its checks before any file is read."""
