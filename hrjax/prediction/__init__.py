"""From images and boxes to joints: what users and scripts call."""
