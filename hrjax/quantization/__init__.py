"""Exported networks in eight bits, without training them again (post-training quantization)."""
