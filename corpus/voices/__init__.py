"""What we serve ourselves."""
