"""What a run has on file."""
