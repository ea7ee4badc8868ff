"""The nouns: anchors, prompts, recipes, slots and the rows of the corpus."""
