"""The papers' tables on AVIS-Synth: rows, runs, scores, report."""
