"""One script per published figure, each with its result beside it."""
