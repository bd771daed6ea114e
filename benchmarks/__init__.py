"""Measurements of what the documentation claims: `python -m benchmarks`, or one of them by its module."""
