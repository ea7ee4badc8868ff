"""How good it is: a corpus's own responses, and those of systems, by the paper's measures."""
