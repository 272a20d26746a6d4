"""Training: from data and a recipe to weights, in one process or several, resumable. `run.train` is the entry."""
