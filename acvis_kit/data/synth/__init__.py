"""AVIS-Synth: clips with exact ground truth, drawn and played by the kit itself."""
