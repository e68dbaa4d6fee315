"""Films: videos and cameras read and written, people followed through them, joints smoothed."""
