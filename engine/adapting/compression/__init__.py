"""Trained models made smaller: pruned and fine-tuned, or kept in fewer bits, and measured beside what they come from.

``spec`` makes the runs, ``run`` does one; both are named without torch. ``codec`` is the file, ``load`` reads it.
"""
