"""How tokens become sound: the networks of GLM-4-Voice's speech decoder, and their files."""
