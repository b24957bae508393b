"""Training smaller models beside a larger one that teaches them (Hinton 2015)."""
