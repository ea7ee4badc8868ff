"""From a corpus to an adapter: speech tokens, training sequences, the base model, training."""

DONE = "checkpoints/done.json"
"""What came of a finished training, in the adapter's folder."""
