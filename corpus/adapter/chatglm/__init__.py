"""The parts of GLM-4-Voice's language model."""
