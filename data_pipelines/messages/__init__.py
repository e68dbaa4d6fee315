"""What people read: sizes of images, choices with near names, and progress."""
