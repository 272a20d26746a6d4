"""Loading and saving of weights, the Hub, published checkpoints, the converter."""
