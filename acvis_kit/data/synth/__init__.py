"""AVIS-Synth: clips with exact ground truth, whose frames and sound the kit generates."""
