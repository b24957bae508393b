"""Reusable pieces of the window; they know nothing of the engine but its translations and errors."""
