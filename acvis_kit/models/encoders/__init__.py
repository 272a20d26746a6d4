"""Encoders of frames and sound: backbones, audio encoders, the pixel decoder."""
