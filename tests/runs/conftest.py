"""Tiny runs, each made once, when a test asks for it."""

from kind_rows import runs

__all__ = ["runs"]
