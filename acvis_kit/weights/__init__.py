"""Weights in and out: loading and saving, the Hub, published checkpoints, the converter."""
