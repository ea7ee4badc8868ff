"""How it is published, and fetched."""
