"""From a clip and a model to a prediction: encode once, decode for each soundtrack."""
