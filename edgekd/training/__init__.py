"""Training: the loop, losses, evaluation, checkpoints, and several processes that share it."""
