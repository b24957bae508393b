"""Trained models made smaller: pruned and fine-tuned, or kept in fewer bits, and measured beside what they come from.

``engine.compressing`` makes the runs, ``run`` does one; ``codec`` is the file, ``load`` reads it.
"""
