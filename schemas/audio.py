"""The corpus's sound format."""

SAMPLE_RATE = 24_000
"""Hertz, mono; the rate at which Qwen3-TTS and the builtin voice speak."""
