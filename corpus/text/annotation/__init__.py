"""Why is it said? What a model notes of each pair, beside its words."""
