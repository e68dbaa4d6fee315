"""What branches or convolutions compute together, for evaluation on GPUs and TPUs."""
