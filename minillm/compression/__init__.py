"""Compression: a language model and a range coder make any file shorter, and give it back."""
