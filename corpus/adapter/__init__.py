"""What learns from it."""
