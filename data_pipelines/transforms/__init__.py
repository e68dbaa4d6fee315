"""What happens to one example on its way into a batch."""
