"""The commands that judge what was made, or hold two corpora against each other."""
