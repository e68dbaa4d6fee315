"""The process a run lives in: devices, signals, memory and its folder."""
