"""The measures, each in a room of its own."""
