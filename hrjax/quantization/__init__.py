"""Networks in eight bits: after training (post-training quantization of exported files)."""
