"""Are the words of a text fit to be said? Cleaned first, then refused by rule."""
