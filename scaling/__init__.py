"""A laboratory for scaling laws of language models."""
