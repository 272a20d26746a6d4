"""Layers that several models share: attention, deformable attention, positions, pixel embeddings."""
