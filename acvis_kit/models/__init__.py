"""The networks. Start with `acvis/model.py`."""
