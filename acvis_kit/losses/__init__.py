"""The losses of training: the network's output against the ground truth. Not used at inference."""
