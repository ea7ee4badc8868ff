"""How it is published."""
