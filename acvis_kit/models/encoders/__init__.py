"""Encoders of pictures and sound: backbones, audio encoders, the pixel decoder."""
