"""Ways out of JAX: networks as ONNX and StableHLO files, and files of ONNX that predict here."""
