"""Pose prediction from images, videos and person boxes: the Predictor and its files."""
