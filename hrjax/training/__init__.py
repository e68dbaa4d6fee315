"""Training: the step, the loop, optimizers, losses, distillation and run logs."""
