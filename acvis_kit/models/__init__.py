"""The networks. `acvis.py` is the place to start."""
