"""What is heard in a clip."""
