"""The papers' ablation tables on AVIS-Synth: rows, runs, scores, report."""
