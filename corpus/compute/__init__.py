"""Where it is computed."""
