"""Evaluation of a model: scores on a data set, audio control, speed, memory, cost."""
