"""From a corpus to an adapter: speech tokens, training sequences, the base model, training."""
