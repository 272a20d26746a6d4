"""A model on a data set: scores, control by sound, speed, memory, cost."""
