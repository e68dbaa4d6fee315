"""What people read: sizes and counts, choices with near names, progress, what was written."""
