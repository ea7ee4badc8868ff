"""How it lies on disk."""
