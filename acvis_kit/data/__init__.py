"""Data sets in AVISeg's layout: reading, preparation, training samples; `synth` makes AVIS-Synth."""
