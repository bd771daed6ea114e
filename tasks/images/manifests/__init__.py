"""Manifests as people write them: their text, their rows, and what a row says of an image."""
