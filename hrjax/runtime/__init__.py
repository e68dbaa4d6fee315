"""What surrounds a run: devices, processes, signals, memory and the run folder."""
