"""Compute: anomaly clustering on plain arrays. No engine, no file, no socket."""
