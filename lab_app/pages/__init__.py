"""The pages along the chain, one per file; they never import each other."""
