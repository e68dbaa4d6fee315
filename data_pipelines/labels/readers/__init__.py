"""Files of others, which may be anything: XML, YAML and HDF5, bounded and without programs."""
